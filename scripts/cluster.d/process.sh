# shellcheck shell=bash
# Starts and stops processes, each known by its pid together with the time it started, so that a
# pid that the kernel gave to somebody else is never signalled.

# started_at PID: the clock ticks since boot at which the process started, to standard output.
started_at() {
  local stat
  stat=$(<"/proc/$1/stat") || return
  # The second field, the name in parentheses, may contain anything; the 22nd is the 20th after it.
  stat=${stat##*) }
  # shellcheck disable=SC2086 # splitting is meant
  set -- $stat
  printf '%s\n' "${20}"
} 2>/dev/null

# record NAME PID: remembers which process is NAME.
record() { printf '%s %s\n' "$2" "$(started_at "$2")" >"$RUN/$1.pid"; }

# pid_of NAME: the pid of a process that runs, to standard output; fails when it does not run.
pid_of() {
  local pid started
  [[ -r $RUN/$1.pid ]] || return 1
  read -r pid started <"$RUN/$1.pid" || return 1
  is_running "$pid" && [[ $(started_at "$pid") == "$started" ]] && printf '%s\n' "$pid"
}

alive() { pid_of "$1" >/dev/null; }

# start NAME COMMAND...: starts a daemon of the host in a session of its own, with a clean
# environment, its output appended to a log.
start() {
  local name=$1
  shift
  (
    unlock "$BUILD_LOCK_FD"
    unlock "$CLUSTER_LOCK_FD"
    cd /
    exec setsid env -i "PATH=$(programs_path):/usr/sbin:/usr/bin:/sbin:/bin" HOME=/nonexistent \
      ${RUST_LOG+"RUST_LOG=$RUST_LOG"} ${RUST_BACKTRACE+"RUST_BACKTRACE=$RUST_BACKTRACE"} \
      "$@" </dev/null >>"$LOG/$name.log" 2>&1
  ) &
  disown "$!" # or bash would tell how it ended
  record "$name" "$!"
}

# child_of PID PROGRAM: the first child of a process that runs PROGRAM by now, to standard output;
# fails when it has none. What a shell forks before it becomes PROGRAM is no child of that.
child_of() {
  local child _ program
  program=$(<"/proc/$1/comm") && [[ $program == "$2" ]] || return 1
  # The file has no end of line, so read() fails even when there is a child.
  read -r child _ <"/proc/$1/task/$1/children" || true
  [[ -n $child ]] && printf '%s\n' "$child"
} 2>/dev/null

# record_child NAME PARENT PROGRAM: remembers the child of PARENT as NAME, as soon as PARENT has
# become PROGRAM and has one.
record_child() {
  if poll 5 child_of "$2" "$3"; then
    record "$1" "$(child_of "$2" "$3")"
  else
    kill -s KILL "$2" 2>/dev/null || true
    return 1
  fi
}

# await NAME SECONDS COMMAND...: waits until COMMAND succeeds; ends the command, with the tail of
# NAME's log, when NAME died or time is up.
await() {
  local name=$1 seconds=$2
  shift 2
  local settled=
  poll "$seconds" settled "$name" "$@" && settled=yes
  alive "$name" || { tail_of "$LOG/$name.log"; die "$name died; its whole log is $LOG/$name.log"; }
  # Not asked again: on a busy machine what held once may not be told again in time.
  [[ -z $settled ]] || return 0
  tail_of "$LOG/$name.log"
  die "$name is not ready after $seconds s ($*); its whole log is $LOG/$name.log"
}

# settled NAME COMMAND...: holds when there is nothing left to wait for.
settled() {
  alive "$1" || return 0
  shift
  "$@"
}

# signal SIGNAL NAME...: sends SIGNAL to those that run.
signal() {
  local signal=$1 name pid
  shift
  for name in "$@"; do
    if pid=$(pid_of "$name"); then kill -s "$signal" "$pid" 2>/dev/null || true; fi
  done
}

# gone NAME...: holds when none of them runs.
gone() {
  local name
  for name in "$@"; do
    alive "$name" && return 1
  done
  return 0
}
