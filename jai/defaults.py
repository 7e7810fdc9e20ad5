"""The built-in configuration files: what `jai --init` writes, and what stands in while they are missing.

Cold once the files exist: imported only when one of them is not on the disk.
"""

from __future__ import annotations

DEFAULTS = """\
# .defaults: what every jail hides unless told otherwise.
#
# A configuration file takes all of it over with the line `conf .defaults`.  Better than to edit this
# file is to write `unmask` and `setenv` lines after that one: `jai --print-defaults` prints the
# newest version of this list, which may then replace an older one.

# Casual mode shows the home, but for these files and directories (relative to the home).

# jai's own configuration
mask .jai

# Keys, and the stores that keep passwords
mask .ssh
mask .gnupg
mask .local/share/keyrings
mask .password-store
mask .config/Keybase
mask .config/op
mask .vault-token

# Network log-ins and code hosting
mask .netrc
mask .git-credentials
mask .config/gh

# Clouds, clusters and containers
mask .aws
mask .azure
mask .config/gcloud
mask .config/rclone
mask .kube
mask .config/kube
mask .docker
mask .terraform.d/credentials.tfrc.json

# Package registries
mask .npmrc
mask .pypirc
mask .cargo/credentials.toml

# Browsers: cookies are as good as passwords
mask .mozilla
mask .config/mozilla
mask .config/BraveSoftware
mask .config/chromium
mask .config/google-chrome

# What was typed, passwords by mistake included
mask .bash_history
mask .zsh_history
mask .local/share/fish/fish_history
mask .python_history

# Every mode removes these variables.  A program that needs its key gets it back with a line such as
# `setenv ANTHROPIC_API_KEY` in its own file.

# Keys, tokens and passwords
unsetenv *_ACCESS_KEY
unsetenv *_APIKEY
unsetenv *_API_KEY
unsetenv *_AUTH
unsetenv *_AUTH_TOKEN
unsetenv *_CREDENTIAL
unsetenv *_CREDENTIALS
unsetenv *_PASSWD
unsetenv *_PASSWORD
unsetenv *_PRIVATE_KEY
unsetenv *_PWD
unsetenv *_SECRET
unsetenv *_SECRET_KEY
unsetenv *_TOKEN
unsetenv AZURE_CLIENT_ID
unsetenv AZURE_TENANT_ID
unsetenv BB_AUTH_STRING
unsetenv GOOGLE_APPLICATION_CREDENTIALS
unsetenv KUBECONFIG
unsetenv SENTRY_DSN
unsetenv SLACK_WEBHOOK_URL

# Addresses of data bases, often with a password in them
unsetenv *_CONNECTION_STRING
unsetenv DATABASE_URL
unsetenv MONGODB_URI
unsetenv MONGO_URI
unsetenv REDIS_URL

# What lies outside and can not be reached from the jail
unsetenv *_PID
unsetenv *_SOCK
unsetenv *_SOCKET
unsetenv *_SOCKET_PATH
unsetenv DBUS_SESSION_BUS_ADDRESS
unsetenv MAIL

# Inside, bash first reads .jairc (if it has more than comments), then runs the command.
script? .jairc
command [ -z "$JAI_SCRIPT" ] || . "$JAI_SCRIPT"; "$0" "$@"
"""

DEFAULT_CONF = """\
# default.conf: read for every command that has no file of its own.
#
# `jai claude` reads claude.conf instead of this file if there is one, and `jai -C FILE` reads FILE.
# A line is `option value`, an option being what `jai --help` lists, without its dashes.
# After this file jai reads JAIL.jail, then the command line: what comes later wins.

# The masks and the environment scrub that come with jai.  Lines below can undo single ones.
conf .defaults

# Grant more than the current directory; a relative path starts at the home.
#dir src/shared
#dir! .cache/agent
#rdir? /srv/data

# Show what .defaults masks, or hide more.
#unmask .docker
#mask .config/secret-tool

# Let a variable through, or set one.
#setenv ANTHROPIC_API_KEY
#setenv EDITOR=${HOME}/bin/editor

# Keep more of the granted directories read-only than git's hooks and configuration: what other
# programs outside would run.
#protect .envrc
#protect .vscode
#protect .idea
#protect .devcontainer
#protect .husky
#protect .mcp.json
#protect .claude/settings.json

# Another jail than the one named `default`; a new one is strict unless its mode is said here.
#jail work
#mode bare

# No network, fewer processes.
#net none
#limit pids=512
"""

DEFAULT_JAIL = """\
# default.jail: what holds for the jail named `default`, whichever configuration file was read.
mode casual
"""

JAIRC = """\
# .jairc: bash code for the shells of a jail.  It runs inside the jail, with the jail's rights.
#
# Examples:
#alias ll='ls -l'
#PS1='[jai:$JAI_JAIL] \\w\\$ '
"""

FILES = {
    ".defaults": DEFAULTS,
    "default.conf": DEFAULT_CONF,
    "default.jail": DEFAULT_JAIL,
    ".jairc": JAIRC,
}
