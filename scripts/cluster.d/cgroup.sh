# shellcheck shell=bash
# The cgroup that holds the node, so that all that kubelet and runc make lies below it and can be
# removed. Version 1 hierarchies only: that is what a 1.20 kubelet is at home in.

# What cgroup_make made, one directory per line: `down` may run in another cgroup than `up` did.
CGROUP_LIST=$RUN/cgroups

# cgroup_hierarchies: "CONTROLLERS DIRECTORY" of each version 1 hierarchy, where DIRECTORY is the
# calling process's own cgroup as a path, to standard output.
cgroup_hierarchies() {
  local controllers path root mount
  while IFS=: read -r _ controllers path; do
    [[ -n $controllers ]] || continue # the version 2 hierarchy
    read -r root mount < <(cgroup_mount "$controllers") || continue
    [[ $root == / ]] || path=${path#"$root"}
    printf '%s %s\n' "$controllers" "$mount${path%/}"
  done </proc/self/cgroup
}

# cgroup_mount CONTROLLERS: "ROOT MOUNT_POINT" of a hierarchy, to standard output.
cgroup_mount() {
  awk -v want="$1" '{
    for (i = 7; $i != "-"; i++);
    if ($(i + 1) == "cgroup" && index("," $(i + 3) ",", "," want ",")) { print $4, $5; exit }
  }' /proc/self/mountinfo
}

# cgroup_make: makes the node's cgroup in every hierarchy.
cgroup_make() {
  local controllers own file found=
  : >"$CGROUP_LIST"
  while read -r controllers own; do
    mkdir -p "$own/$CGROUP"
    printf '%s\n' "$own/$CGROUP" >>"$CGROUP_LIST"
    found+=,$controllers
    [[ ,$controllers, == *,cpuset,* ]] || continue
    # A new cpuset is empty and takes no process until it is given processors and memory.
    for file in cpuset.cpus cpuset.mems; do
      cat "$own/$file" >"$own/$CGROUP/$file"
    done
  done < <(cgroup_hierarchies)
  [[ $found, == *,memory,* && $found, == *,cpu,* ]] ||
    die "no version 1 cgroups for memory and cpu are mounted; boot with systemd.unified_cgroup_hierarchy=0"
}

# cgroup_enter: moves the calling shell into the node's cgroups.
cgroup_enter() {
  local directory
  while read -r directory; do
    printf '%s\n' "$BASHPID" >"$directory/cgroup.procs"
  done <"$CGROUP_LIST"
}

# cgroup_remove: removes the node's cgroups; fails while a process is in one of them.
cgroup_remove() {
  local directory left=0
  [[ -r $CGROUP_LIST ]] || return 0
  while read -r directory; do
    [[ -d $directory ]] || continue
    find "$directory" -depth -type d -exec rmdir {} \; 2>/dev/null || true
    [[ ! -d $directory ]] || left=1
  done <"$CGROUP_LIST"
  return "$left"
}
