"""The kubeconfigs that kubectl is asked about: a good one, and every rule of it changed."""

BASE = {
    "document": "<head><current><clusters><users><contexts><more>",
    "head": "apiVersion: v1\nkind: Config\n",
    "current": "current-context: x\n",
    "clusters": "clusters:\n- name: c\n  cluster: {<cluster>}\n<othercluster>",
    "cluster": "server: '<server>', <authority>",
    "server": "@URL@",
    "authority": "certificate-authority-data: @CA@",
    "othercluster": "",
    "users": "users:\n- name: u\n  user: {<user>}\n<otheruser>",
    "user": "token: abc",
    "otheruser": "",
    "contexts": "contexts:\n- name: x\n  context: {<context>}\n<othercontext>",
    "context": "cluster: c, user: u<namespace>",
    "namespace": "",
    "othercontext": "",
    "more": "",
}

# Values of a field, whatever it is for.
SCALARS = ["", "''", "null", "~", "1", "1.5", "true", "yes", "0x10", "2001-01-01", "[]", "{}", "[a]", "'a b'", "!!str 1", '"\\u00e9"']

FIELDS = {
    "server": "cluster",
    "certificate-authority-data": "cluster",
    "insecure-skip-tls-verify": "cluster",
    "token": "user",
    "client-key-data": "user",
    "as-groups": "user",
    "as-user-extra": "user",
    "exec": "user",
    "namespace": "context",
}

# Words that YAML 1.1 and 1.2 read differently, or that are numbers only to some.
WORDS = ["on", "off", "no", "y", "n", "Y", "N", "NO", "On", "True", "TRUE", "tRue", "NULL", "Null", "nULL", "0777", "0o17", "0b1", "1_000", "1e3", "1E+3", ".5", "5.", "+1", "-1",
         "-0", ".inf", "-.Inf", ".nan", "nan", "1:30", "0x1G", "12345678901234567890123", "1.2.3", "a: b", "'1'", '"true"', "=", "1__0", "0x", "08", "1e", "--1", "1-1"]  # fmt: skip

# What a field stands beside, so that it alone decides.
BESIDE = {
    "server": "certificate-authority-data: @CA@",
    "certificate-authority-data": "server: '@URL@'",
    "insecure-skip-tls-verify": "server: '@URL@'",
    "token": "client-certificate-data: @CERT@, client-key-data: @KEY@",
    "client-key-data": "client-certificate-data: @CERT@",
}

SERVERS = [
    "@URL@/", "@URL@/path", "@URL@?a=b", "@URL@#a", "@HOST@", "@HOST@/path", "HTTPS://@HOST@", "@PLAINURL@", "@PLAINHOST@",
    "https://", "https://:1", "//@HOST@", "ftp://@HOST@", "https:@HOST@", "https:/@HOST@", "https://u:p@@HOST@", "https://127.0.0.1:0",
    "https://127.0.0.1:99999", "https://127.0.0.1:abc", "https://127.0.0.1:1", "https://[::1]:1", "https://::1:1", "https://a b", " @URL@",
    "@URL@ ", "https://exa_mple:1", "unix:///tmp/x", "127.0.0.1", "127.0.0.1:1", "localhost", "[::1]:1", "::1", "/path", "%zz", "https://%zz",
    "https://127.0.0.1:1/%zz", "https://nowhere.invalid:1", "nowhere.invalid", "nowhere.invalid:1", "http://", "http:@PLAINHOST@", ":", "https//@HOST@",
]  # fmt: skip

USERS = {
    "certificate and key": "client-certificate-data: @CERT@, client-key-data: @KEY@",
    "certificate and key files": "client-certificate: user.crt, client-key: user.key",
    "certificate and key absolute": "client-certificate: @DIR@/user.crt, client-key: @DIR@/user.key",
    "certificate file and key data": "client-certificate: user.crt, client-key-data: @KEY@",
    "certificate alone": "client-certificate-data: @CERT@",
    "certificate file alone": "client-certificate: user.crt",
    "key alone": "client-key-data: @KEY@",
    "key file alone": "client-key: user.key",
    "certificate twice": "client-certificate-data: @CERT@, client-certificate: user.crt, client-key-data: @KEY@",
    "certificate twice, file absent": "client-certificate-data: @CERT@, client-certificate: absent, client-key-data: @KEY@",
    "key twice": "client-certificate-data: @CERT@, client-key: user.key, client-key-data: @KEY@",
    "key twice, file absent": "client-certificate-data: @CERT@, client-key: absent, client-key-data: @KEY@",
    "another's key": "client-certificate-data: @CERT@, client-key-data: @OTHERKEY@",
    "another's key file": "client-certificate: user.crt, client-key: other.key",
    "certificate of garbage": "client-certificate-data: aGVsbG8=, client-key-data: @KEY@",
    "key of garbage": "client-certificate-data: @CERT@, client-key-data: aGVsbG8=",
    "key as certificate": "client-certificate-data: @KEY@, client-key-data: @KEY@",
    "certificate as key": "client-certificate-data: @CERT@, client-key-data: @CERT@",
    "files changed over": "client-certificate: user.key, client-key: user.crt",
    "certificate file absent": "client-certificate: absent, client-key: user.key",
    "key file absent": "client-certificate: user.crt, client-key: absent",
    "certificate file empty": "client-certificate: empty, client-key: user.key",
    "certificate file is a directory": "client-certificate: @DIR@/folder, client-key: user.key",
    "certificate and token": "client-certificate-data: @CERT@, client-key-data: @KEY@, token: abc",
    "certificate and password": "client-certificate-data: @CERT@, client-key-data: @KEY@, username: a, password: b",
    "half a pair and a token": "client-certificate-data: @CERT@, token: abc",
    "key and a token": "client-key-data: @KEY@, token: abc",
    "nothing": "",
    "token empty": "token: ''",
    "token with a space": "token: 'a b'",
    "token with a newline": 'token: "abc\\n"',
    "token with a newline within": 'token: "a\\nb"',
    "token with a control character": 'token: "a\\u0001b"',
    "token beyond ASCII": 'token: "a\\u00e9"',
    "token file": "tokenFile: token",
    "token file absolute": "tokenFile: @DIR@/token",
    "token file absent": "tokenFile: absent",
    "token file empty": "tokenFile: empty",
    "token file is a directory": "tokenFile: @DIR@/folder",
    "token and token file": "token: a, tokenFile: token",
    "token and token file absent": "token: a, tokenFile: absent",
    "password": "username: a, password: b",
    "username alone": "username: a",
    "password alone": "password: b",
    "token and password": "token: a, username: a, password: b",
    "token file and password": "tokenFile: token, username: a, password: b",
    "token and username": "token: a, username: a",
    "as": "token: a, as: root",
    "as-groups": "token: a, as: root, as-groups: [a, b]",
    "as-groups without as": "token: a, as-groups: [a]",
    "as-uid": "token: a, as: root, as-uid: '1'",
    "as-uid without as": "token: a, as-uid: '1'",
    "as-user-extra": "token: a, as: root, as-user-extra: {a: [b]}",
    "as-user-extra without as": "token: a, as-user-extra: {a: [b]}",
    "as-user-extra of text": "token: a, as: root, as-user-extra: {a: b}",
    "as alone": "as: root",
    "oidc": "auth-provider: {name: oidc, config: {client-id: a, idp-issuer-url: 'https://127.0.0.1:1', id-token: @JWT@}}",
    "oidc without configuration": "auth-provider: {name: oidc}",
    "oidc without issuer": "auth-provider: {name: oidc, config: {client-id: a}}",
    "oidc without client": "auth-provider: {name: oidc, config: {idp-issuer-url: 'https://127.0.0.1:1'}}",
    "oidc and token": "token: a, auth-provider: {name: oidc, config: {client-id: a, idp-issuer-url: 'https://127.0.0.1:1'}}",
    "oidc and certificate": "client-certificate-data: @CERT@, client-key-data: @KEY@, auth-provider: {name: oidc, config: {client-id: a, idp-issuer-url: 'https://127.0.0.1:1', id-token: @JWT@}}",
    "oidc and password": "username: a, password: b, auth-provider: {name: oidc, config: {client-id: a, idp-issuer-url: 'https://127.0.0.1:1'}}",
    "gcp": "auth-provider: {name: gcp, config: {cmd-path: /bin/true, access-token: a, expiry: '2099-01-01T00:00:00Z'}}",
    "azure": "auth-provider: {name: azure, config: {client-id: a, tenant-id: b, apiserver-id: c, access-token: a, expires-on: '4070908800', expires-in: '1', environment: AzurePublicCloud, refresh-token: a}}",
    "openstack": "auth-provider: {name: openstack, config: {ttl: 1h}}",
    "unknown provider": "auth-provider: {name: nobody}",
    "nameless provider": "auth-provider: {config: {}}",
    "unknown provider and token": "token: a, auth-provider: {name: nobody}",
    "provider with unknown field": "auth-provider: {name: oidc, colour: red, config: {client-id: a, idp-issuer-url: 'https://127.0.0.1:1', id-token: @JWT@}}",
    "unknown field": "token: a, tokne: b",
    "field in capitals": "Token: a",
    "field with underscore": "token_file: token",
    "extensions": "token: a, extensions: [{name: a, extension: {b: c}}]",
    "extensions twice": "token: a, extensions: [{name: a, extension: {b: c}}, {name: a, extension: {b: d}}]",
    "field twice": "token: a, token: b",
}  # fmt: skip

AUTHORITIES = {
    "none": "tls-server-name: ''",
    "lines": "certificate-authority-data: |\n      @CA lines@\n  ",
    "lines, flow": "certificate-authority-data: @CA lines@",
    "escapes": 'certificate-authority-data: "@CA escapes@"',
    "carriages": 'certificate-authority-data: "@CA carriages@"',
    "tabs": 'certificate-authority-data: "@CA tabs@"',
    "spaces": "certificate-authority-data: '@CA spaces@'",
    "cut": "certificate-authority-data: '@CA cut@'",
    "url alphabet": "certificate-authority-data: '@CA url@'",
    "binary tag": "certificate-authority-data: !!binary @CA@",
    "newline at the end": 'certificate-authority-data: "@CA@\\n"',
    "space at the end": "certificate-authority-data: '@CA@ '",
    "no base64": "certificate-authority-data: '%%'",
    "garbage": "certificate-authority-data: aGVsbG8=",
    "no padding": "certificate-authority-data: aGVsbG8",
    "PEM itself": 'certificate-authority-data: "-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n"',
    "a key": "certificate-authority-data: @KEY@",
    "a leaf": "certificate-authority-data: @CERT@",
    "file": "certificate-authority: ca.crt",
    "file below a dot": "certificate-authority: ./ca.crt",
    "file absolute": "certificate-authority: @DIR@/ca.crt",
    "file absent": "certificate-authority: absent",
    "file empty": "certificate-authority: empty",
    "file of garbage": "certificate-authority: garbage",
    "file is a directory": "certificate-authority: @DIR@/folder",
    "file from home": "certificate-authority: ~/ca.crt",
    "twice": "certificate-authority: ca.crt, certificate-authority-data: @CA@",
    "twice, file absent": "certificate-authority: absent, certificate-authority-data: @CA@",
    "twice, data garbage": "certificate-authority: ca.crt, certificate-authority-data: aGVsbG8=",
    "twice, file empty text": "certificate-authority: '', certificate-authority-data: @CA@",
    "insecure": "insecure-skip-tls-verify: true",
    "insecure and data": "insecure-skip-tls-verify: true, certificate-authority-data: @CA@",
    "insecure and file": "insecure-skip-tls-verify: true, certificate-authority: ca.crt",
    "insecure and file absent": "insecure-skip-tls-verify: true, certificate-authority: absent",
    "insecure and name": "insecure-skip-tls-verify: true, tls-server-name: other",
    "not insecure": "insecure-skip-tls-verify: false, certificate-authority-data: @CA@",
    "name": "certificate-authority-data: @CA@, tls-server-name: api.example",
    "wrong name": "certificate-authority-data: @CA@, tls-server-name: other.example",
    "name without CA": "tls-server-name: api.example",
    "name that is none": "certificate-authority-data: @CA@, tls-server-name: 'a b'",
    "proxy over http": "certificate-authority-data: @CA@, proxy-url: 'http://127.0.0.1:1'",
    "proxy over https": "certificate-authority-data: @CA@, proxy-url: 'https://127.0.0.1:1'",
    "proxy over socks5": "certificate-authority-data: @CA@, proxy-url: 'socks5://127.0.0.1:1'",
    "proxy over socks5h": "certificate-authority-data: @CA@, proxy-url: 'socks5h://127.0.0.1:1'",
    "proxy over socks4": "certificate-authority-data: @CA@, proxy-url: 'socks4://127.0.0.1:1'",
    "proxy over ftp": "certificate-authority-data: @CA@, proxy-url: 'ftp://127.0.0.1:1'",
    "proxy without scheme": "certificate-authority-data: @CA@, proxy-url: '127.0.0.1:1'",
    "proxy of a name": "certificate-authority-data: @CA@, proxy-url: 'localhost'",
    "proxy of a name and port": "certificate-authority-data: @CA@, proxy-url: 'localhost:1'",
    "proxy of a bad URL": "certificate-authority-data: @CA@, proxy-url: 'http://%zz'",
    "proxy without host": "certificate-authority-data: @CA@, proxy-url: 'http://'",
    "disable-compression": "certificate-authority-data: @CA@, disable-compression: true",
    "unknown field": "certificate-authority-data: @CA@, certificate-authorities: x",
    "field in capitals": "Certificate-Authority-Data: @CA@",
    "field twice": "certificate-authority-data: @CA@, certificate-authority-data: @CA@",
    "extensions": "certificate-authority-data: @CA@, extensions: [{name: a, extension: {b: c}}]",
}

CONTEXTS = {
    "no cluster": "user: u",
    "empty cluster": "cluster: '', user: u",
    "no user": "cluster: c",
    "empty user": "cluster: c, user: ''",
    "no such cluster": "cluster: d, user: u",
    "no such user": "cluster: c, user: v",
    "nothing": "",
    "unknown field": "cluster: c, user: u, usr: v",
    "field twice": "cluster: c, cluster: c, user: u",
    "namespace": "cluster: c, user: u, namespace: kube-system",
    "namespace with underscore": "cluster: c, user: u, namespace: a_b",
    "namespace in capitals": "cluster: c, user: u, namespace: Abc",
    "namespace too long": f"cluster: c, user: u, namespace: {'a' * 64}",
    "namespace with a dot": "cluster: c, user: u, namespace: a.b",
}

# The whole of one part is another.
PARTS = {
    "head": {
        "none": "", "no kind": "apiVersion: v1\n", "no apiVersion": "kind: Config\n", "another kind": "apiVersion: v1\nkind: Pod\n",
        "kind in small letters": "apiVersion: v1\nkind: config\n", "another apiVersion": "apiVersion: v2\nkind: Config\n",
        "apiVersion v1beta1": "apiVersion: v1beta1\nkind: Config\n", "apiVersion with group": "apiVersion: kubeconfig/v1\nkind: Config\n",
        "kind empty": "apiVersion: v1\nkind: ''\n", "apiVersion empty": "apiVersion: ''\nkind: Config\n", "apiVersion null": "apiVersion: null\nkind: Config\n",
        "apiVersion number": "apiVersion: 1\nkind: Config\n", "kind list": "apiVersion: v1\nkind: [Config]\n", "kind twice": "apiVersion: v1\nkind: Config\nkind: Config\n",
        "another kind alone": "kind: Pod\n", "another apiVersion alone": "apiVersion: v2\n", "quoted": "\"apiVersion\": \"v1\"\n'kind': 'Config'\n",
        "comment": "# a\napiVersion: v1 # b\nkind: Config\n", "document mark": "---\napiVersion: v1\nkind: Config\n", "directive": "%YAML 1.1\n---\napiVersion: v1\nkind: Config\n",
        "byte order mark": "\ufeffapiVersion: v1\nkind: Config\n", "legacy": "legacy: true\napiVersion: v1\nkind: Config\n", "kind ConfigList": "apiVersion: v1\nkind: List\n",
    },
    "current": {
        "none": "", "empty": "current-context: ''\n", "null": "current-context: null\n", "absent name": "current-context: z\n", "a boolean of YAML 1.1": "current-context: y\n", "that boolean in quotes": "current-context: 'y'\n", "number": "current-context: 1\n",
        "list": "current-context: [x]\n", "twice": "current-context: x\ncurrent-context: x\n", "twice, differing": "current-context: z\ncurrent-context: x\n",
        "space": "current-context: 'x '\n", "in capitals": "current-context: X\n",
    },
    "clusters": {
        "none": "", "null": "clusters: null\n", "empty": "clusters: []\n", "a mapping": "clusters: {c: {server: '@URL@'}}\n", "text": "clusters: c\n",
        "null entry": "clusters:\n- null\n- {name: c, cluster: {<cluster>}}\n", "entry of text": "clusters:\n- c\n", "no name": "clusters:\n- {cluster: {<cluster>}}\n",
        "name empty": "clusters:\n- {name: '', cluster: {<cluster>}}\n", "name number": "clusters:\n- {name: 1, cluster: {<cluster>}}\n", "no cluster": "clusters:\n- {name: c}\n",
        "cluster null": "clusters:\n- {name: c, cluster: null}\n", "cluster empty": "clusters:\n- {name: c, cluster: {}}\n", "cluster of text": "clusters:\n- {name: c, cluster: x}\n",
        "cluster a list": "clusters:\n- {name: c, cluster: []}\n", "twice the list": "clusters: []\nclusters:\n- {name: c, cluster: {<cluster>}}\n",
        "unknown field": "clusters:\n- {name: c, colour: red, cluster: {<cluster>}}\n", "fields beside": "clusters:\n- {name: c, server: '@URL@', <authority>}\n",
        "block": "clusters:\n- cluster:\n    certificate-authority-data: @CA@\n    server: @URL@\n  name: c\n",
        "base64 over lines": "clusters:\n- cluster:\n    certificate-authority-data: |\n      @CA lines@\n    server: @URL@\n  name: c\n",
        "base64 over folded lines": "clusters:\n- cluster:\n    certificate-authority-data: >\n      @CA lines@\n    server: @URL@\n  name: c\n",
        "indented": "clusters:\n  - name: c\n    cluster:\n      server: @URL@\n      certificate-authority-data: @CA@\n",
        "name twice, same": "clusters:\n- {name: c, cluster: {<cluster>}}\n- {name: c, cluster: {<cluster>}}\n",
    },
    "othercluster": {
        "good": "- {name: d, cluster: {server: '@URL@'}}\n", "of the same name": "- {name: c, cluster: {server: '@URL@'}}\n", "without server": "- {name: d, cluster: {}}\n",
        "no base64": "- {name: d, cluster: {server: '@URL@', certificate-authority-data: '%%'}}\n", "file absent": "- {name: d, cluster: {server: '@URL@', certificate-authority: absent}}\n",
        "garbage": "- {name: d, cluster: {server: '@URL@', certificate-authority-data: aGVsbG8=}}\n", "bad URL": "- {name: d, cluster: {server: 'https://%zz'}}\n",
        "server number": "- {name: d, cluster: {server: 1}}\n", "unknown field": "- {name: d, cluster: {sever: x}}\n", "twice": "- {name: d, cluster: {}}\n- {name: d, cluster: {}}\n",
        "CA twice": "- {name: d, cluster: {server: '@URL@', certificate-authority: ca.crt, certificate-authority-data: @CA@}}\n", "null": "- null\n", "nameless twice": "- {cluster: {}}\n- {cluster: {}}\n",
        "bad proxy": "- {name: d, cluster: {server: '@URL@', proxy-url: 'ftp://x'}}\n",
    },
    "users": {
        "none": "", "null": "users: null\n", "empty": "users: []\n", "a mapping": "users: {u: {token: abc}}\n", "no user": "users:\n- {name: u}\n", "user null": "users:\n- {name: u, user: null}\n",
        "user of text": "users:\n- {name: u, user: x}\n", "name number": "users:\n- {name: 1, user: {token: abc}}\n", "unknown field": "users:\n- {name: u, colour: red, user: {token: abc}}\n",
        "anchor": "users:\n- {name: v, user: &a {token: abc}}\n- {name: u, user: *a}\n", "merge key": "users:\n- {name: v, user: &a {token: abc}}\n- {name: u, user: {<<: *a}}\n",
        "merge key and field": "users:\n- {name: v, user: &a {token: 1}}\n- {name: u, user: {<<: *a, token: abc}}\n", "unknown anchor": "users:\n- {name: u, user: *b}\n",
    },
    "otheruser": {
        "good": "- {name: v, user: {token: abc}}\n", "of the same name": "- {name: u, user: {token: def}}\n", "of the same name, same": "- {name: u, user: {token: abc}}\n",
        "half a pair": "- {name: v, user: {client-key-data: @KEY@}}\n", "no base64": "- {name: v, user: {client-key-data: '%%'}}\n", "token number": "- {name: v, user: {token: 1}}\n",
        "file absent": "- {name: v, user: {client-certificate: absent, client-key: absent}}\n", "another's key": "- {name: v, user: {client-certificate-data: @CERT@, client-key-data: @OTHERKEY@}}\n",
        "gcp": "- {name: v, user: {auth-provider: {name: gcp}}}\n", "unknown provider": "- {name: v, user: {auth-provider: {name: nobody}}}\n", "exec without command": "- {name: v, user: {exec: {}}}\n",
        "exec without version": "- {name: v, user: {exec: {command: a}}}\n", "exec without mode": "- {name: v, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: a}}}\n",
        "token and password": "- {name: v, user: {token: a, username: a, password: b}}\n", "token file absent": "- {name: v, user: {tokenFile: absent}}\n",
        "certificate twice": "- {name: v, user: {client-certificate: user.crt, client-certificate-data: @CERT@, client-key-data: @KEY@}}\n", "nothing": "- {name: v, user: {}}\n", "unknown field": "- {name: v, user: {tokne: a}}\n",
    },
    "contexts": {
        "none": "", "null": "contexts: null\n", "empty": "contexts: []\n", "no context": "contexts:\n- {name: x}\n", "context null": "contexts:\n- {name: x, context: null}\n",
        "name number": "contexts:\n- {name: 1, context: {cluster: c, user: u}}\n", "a mapping": "contexts: {x: {cluster: c, user: u}}\n",
    },
    "othercontext": {
        "good": "- {name: z, context: {cluster: c, user: u}}\n", "of the same name": "- {name: x, context: {cluster: c, user: u}}\n", "no such cluster": "- {name: z, context: {cluster: d, user: u}}\n",
        "no such user": "- {name: z, context: {cluster: c, user: v}}\n", "no user": "- {name: z, context: {cluster: c}}\n", "nothing": "- {name: z, context: {}}\n", "bad namespace": "- {name: z, context: {cluster: c, user: u, namespace: a_b}}\n",
        "nameless": "- {context: {cluster: c, user: u}}\n",
    },
    "more": {
        "preferences": "preferences: {}\n", "preferences with colors": "preferences: {colors: true}\n", "preferences of text": "preferences: x\n", "preferences null": "preferences: null\n", "preferences unknown": "preferences: {a: b}\n",
        "extensions": "extensions:\n- {name: a, extension: {b: c}}\n", "extensions twice": "extensions:\n- {name: a, extension: {b: c}}\n- {name: a, extension: {b: c}}\n", "extensions a mapping": "extensions: {a: b}\n",
        "unknown field": "colour: red\n", "field in capitals": "Clusters: []\n", "another document": "---\napiVersion: v1\nkind: Config\n", "another document of garbage": "---\na: [\n", "end mark": "...\n",
        "comment at the end": "# end", "tab": "\t\n", "a line of text": "hello\n", "bracket": "a: [\n", "carriage returns": "preferences: {}\r\n", "NUL": "a: \"\\0\"\n", "number as key": "1: a\n", "deep": f"extensions: [{{name: a, extension: {'{a: ' * 12}b{'}' * 12}}}]\n",
        "metadata": "metadata: {name: a}\n",
    },
    "document": {
        "empty": "", "space": " \n\n", "comment": "# nothing\n", "null": "null\n", "text": "hello\n", "number": "1\n", "list": "- a\n", "empty mapping": "{}\n", "bracket": "[\n", "control character": "\u0001\n",
        "JSON": '{"apiVersion":"v1","kind":"Config","current-context":"x","clusters":[{"name":"c","cluster":{"server":"@URL@","certificate-authority-data":"@CA@"}}],"users":[{"name":"u","user":{"token":"abc"}}],"contexts":[{"name":"x","context":{"cluster":"c","user":"u"}}]}',
        "JSON with comma": '{"apiVersion":"v1","kind":"Config",}', "JSON cut": '{"apiVersion":"v1"', "head alone": "apiVersion: v1\nkind: Config\n", "as kubectl writes it": "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: @CA@\n    server: @URL@\n  name: c\ncontexts:\n- context:\n    cluster: c\n    user: u\n  name: x\ncurrent-context: x\nkind: Config\npreferences: {}\nusers:\n- name: u\n  user:\n    token: abc\n",
        "tabs": "apiVersion: v1\nkind: Config\nclusters:\n\t- name: c\n", "carriage returns": "apiVersion: v1\r\nkind: Config\r\ncurrent-context: x\r\nclusters:\r\n- {name: c, cluster: {<cluster>}}\r\nusers:\r\n- {name: u, user: {token: abc}}\r\ncontexts:\r\n- {name: x, context: {cluster: c, user: u}}\r\n",
    },
}  # fmt: skip

EXEC = {
    "nothing": "", "command": "command: ./plugin-v1", "v1": "command: ./plugin-v1, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never",
    "v1 without mode": "command: ./plugin-v1, apiVersion: client.authentication.k8s.io/v1", "v1 with IfAvailable": "command: ./plugin-v1, apiVersion: client.authentication.k8s.io/v1, interactiveMode: IfAvailable",
    "v1 with Always": "command: ./plugin-v1, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Always", "v1 with another mode": "command: ./plugin-v1, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Sometimes",
    "v1beta1": "command: ./plugin-v1beta1, apiVersion: client.authentication.k8s.io/v1beta1", "v1beta1 with Never": "command: ./plugin-v1beta1, apiVersion: client.authentication.k8s.io/v1beta1, interactiveMode: Never",
    "v1beta1 with another mode": "command: ./plugin-v1beta1, apiVersion: client.authentication.k8s.io/v1beta1, interactiveMode: Sometimes", "v1alpha1": "command: ./plugin-v1alpha1, apiVersion: client.authentication.k8s.io/v1alpha1",
    "another version": "command: ./plugin-v1, apiVersion: client.authentication.k8s.io/v2, interactiveMode: Never", "no group": "command: ./plugin-v1, apiVersion: v1, interactiveMode: Never", "no command": "apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never",
    "command absent": "command: ./absent, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never", "command not in PATH": "command: absent-of-any-path, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never",
    "command absolute": "command: @DIR@/plugin-v1, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never", "arguments": "command: ./plugin-v1, args: [a, b], apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never",
    "arguments of text": "command: ./plugin-v1, args: a, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never", "arguments of numbers": "command: ./plugin-v1, args: [1], apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never",
    "environment": "command: ./plugin-v1, env: [{name: A, value: b}], apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never", "environment without name": "command: ./plugin-v1, env: [{value: b}], apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never",
    "environment without value": "command: ./plugin-v1, env: [{name: A}], apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never", "environment a mapping": "command: ./plugin-v1, env: {A: b}, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never",
    "environment null": "command: ./plugin-v1, env: null, args: null, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never", "provideClusterInfo": "command: ./plugin-v1, provideClusterInfo: true, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never",
    "installHint": "command: ./absent, installHint: get it, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never", "unknown field": "command: ./plugin-v1, colour: red, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never",
    "no program": "command: ./token, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never", "another's answer": "command: ./plugin-v1beta1, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never",
}  # fmt: skip

GOOD_EXEC = "exec: {command: ./plugin-v1, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never}"

BESIDE_EXEC = {
    "token": "token: a", "certificate": "client-certificate-data: @CERT@, client-key-data: @KEY@", "password": "username: a, password: b", "provider": "auth-provider: {name: oidc, config: {client-id: a, idp-issuer-url: 'https://127.0.0.1:1', id-token: @JWT@}}", "token file": "tokenFile: token", "as": "as: root",
}  # fmt: skip

BARE = {"current": "", "clusters": "", "users": "", "contexts": ""}

# Several files in KUBECONFIG; None is a file that is not there.
FILES = {
    "two of one kind": [{}, {}], "each a part": [BARE | {"clusters": "<current>clusters:\n- {name: c, cluster: {<cluster>}}\n", "current": ""}, BARE | {"users": "users:\n- {name: u, user: {token: abc}}\n"}, BARE | {"contexts": "current-context: x\ncontexts:\n- {name: x, context: {cluster: c, user: u}}\n"}],
    "first absent": [None, {}], "second absent": [{}, None], "both absent": [None, None], "first empty": [{"document": ""}, {}], "second empty": [{}, {"document": ""}], "second broken": [{}, {"document": "a: [\n"}], "first broken": [{"document": "a: [\n"}, {}],
    "second of another kind": [{}, {"document": "apiVersion: v1\nkind: Pod\n"}], "second with a cluster of the same name": [{}, BARE | {"clusters": "clusters:\n- {name: c, cluster: {server: 'https://127.0.0.1:1'}}\n"}],
    "first with a broken cluster of the same name": [BARE | {"clusters": "clusters:\n- {name: c, cluster: {server: 'ftp://x'}}\n"}, {}], "first with half a cluster": [BARE | {"clusters": "clusters:\n- {name: c, cluster: {server: '@URL@'}}\n"}, {}],
    "first with an empty cluster": [BARE | {"clusters": "clusters:\n- {name: c, cluster: {}}\n"}, {}],
    "first with half a user": [BARE | {"users": "users:\n- {name: u, user: {client-key-data: @KEY@}}\n"}, {}], "second with half a user": [{}, BARE | {"users": "users:\n- {name: u, user: {client-key-data: @KEY@}}\n"}],
    "first with another current context": [BARE | {"current": "current-context: z\n"}, {}], "second with another current context": [{}, BARE | {"current": "current-context: z\n"}], "first without context": [{"current": ""}, {}], "neither with context": [{"current": ""}, {"current": ""}],
    "second twice a name": [{}, BARE | {"users": "users:\n- {name: v, user: {}}\n- {name: v, user: {}}\n"}], "second no base64": [{}, BARE | {"users": "users:\n- {name: v, user: {client-key-data: '%%'}}\n"}], "second without kind": [{}, {"document": "users: []\n"}],
    "relative files in the second": [BARE | {"current": "current-context: x\n"}, {"authority": "certificate-authority: ca.crt"}], "three": [{}, {}, {}],
    "user with fields in both": [BARE | {"users": "users:\n- {name: u, user: {client-certificate-data: @CERT@}}\n"}, {"user": "client-key-data: @KEY@"}],
}  # fmt: skip


def rows():
    """Every row of the table, without verdicts."""
    found = [{"case": "good"}]
    found += [{"case": f"server {value!r}", "server": value} for value in SERVERS]
    for value in ["@HOST@", "@PLAINHOST@", "@PLAINURL@", "@URL@/path", "//@HOST@"]:
        for kind, authority in [("no CA", "tls-server-name: ''"), ("insecure", "insecure-skip-tls-verify: true")]:
            found.append({"case": f"server {value!r}, {kind}", "server": value, "authority": authority})
    for part, values in [("user", USERS), ("authority", AUTHORITIES), ("context", CONTEXTS)]:
        found += [{"case": f"{part}: {name}", part: text} for name, text in values.items()]
    for part, values in PARTS.items():
        found += [{"case": f"{part}: {name}", part: text} for name, text in values.items()]
    for name, text in EXEC.items():
        found.append({"case": f"exec: {name}", "user": f"exec: {{{text}}}"})
    for name, text in BESIDE_EXEC.items():
        found.append({"case": f"exec and {name}", "user": f"{GOOD_EXEC}, {text}"})
    for field, part in FIELDS.items():
        for value in SCALARS:
            rest = BESIDE.get(field, "token: abc" if part == "user" else BASE[part])
            found.append({"case": f"{field}: {value}", part: f"{rest}, {field}: {value}"})
    for word in WORDS:
        found.append({"case": f"tokenFile beside a token: {word}", "user": f"token: abc, tokenFile: {word}"})
        found.append({"case": f"insecure-skip-tls-verify: {word}", "authority": f"insecure-skip-tls-verify: {word}"})
    for name in ["nothing", "certificate alone", "another's key", "token and password", "gcp", "token file absent", "as-groups without as"]:
        found.append({"case": f"without TLS, user: {name}", "server": "@PLAINURL@", "authority": "tls-server-name: ''", "user": USERS[name]})
    found += [{"case": f"files: {name}", "files": files} for name, files in FILES.items()]
    return found
