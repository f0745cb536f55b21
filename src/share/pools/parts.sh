# shellcheck shell=sh
# What pools have in common. They are read by `. parts.sh`, from their own folder.
set -eu
umask 077

try_later=75 wrong_configuration=78

fail() {
  code=$1
  shift
  echo "$*" >&2
  exit "$code"
}

# One word for a shell.
quoted() {
  printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"
}

# An option that must be there.
needed() {
  eval "value=\${SPELL_POOL_OPTION_$1:-}"
  [ -n "$value" ] || fail $wrong_configuration "the pool needs the option $(printf %s "$1" | tr '[:upper:]' '[:lower:]')"
  printf %s "$value"
}

# Names, a line each, as the service wants a list.
as_list() {
  sed -n 's/^\([a-z][a-z0-9-]*\)$/{"name": "\1"}/p' | paste -sd , - | sed 's/^/{"machines": [/; s/$/]}/'
}

# What a cloud's machine does when it starts: it joins with the token on standard input, or ends.
first_start() {
  [ -n "$SPELL_POOL_INSTALL" ] || fail $wrong_configuration "machines elsewhere cannot join this service: a service of a team can be reached (spelld init)"
  read -r token
  cat << END
#!/bin/sh
# Once: not when the machine starts again.
[ ! -e /var/lib/spell-worker/joined.json ] || exit 0
umask 077
join() {
  command -v curl > /dev/null || { apt-get -q update && apt-get -q -y install curl; } || return
  command -v spell-worker > /dev/null || { $SPELL_POOL_INSTALL; } || return
  # Without its service for long, it ends by itself.
  mkdir -p -m 755 /etc/spell || return
  [ -e /etc/spell/worker.toml ] || echo 'end-after = ${SPELL_POOL_OPTION_END_AFTER:-1800}
end-anyway = ${SPELL_POOL_OPTION_END_ANYWAY:-86400}
on-end = "shutdown -h now"' > /etc/spell/worker.toml
  spell-worker join $(quoted "$SPELL_POOL_URL") - << 'TOKEN'
$token
TOKEN
}
join || shutdown -h now
END
}

# A command whose last words tell what kind of failure it was: patterns of what to try later, and
# of what somebody has to change.
carefully() {
  later=$1 wrong=$2
  shift 2
  said=$SPELL_POOL_FOLDER/said.${SPELL_POOL_NAME:-list}
  if "$@" 2> "$said"; then
    rm -f "$said"
    return 0
  fi
  why=$(grep -v '^ *$' "$said" | tail -n 1 | cut -c 1-500)
  whole=$(cat "$said")
  rm -f "$said"
  if printf %s "$whole" | grep -qE "$later"; then fail $try_later "$why"; fi
  if printf %s "$whole" | grep -qE "$wrong"; then fail $wrong_configuration "$why"; fi
  fail 1 "${why:-$1 failed}"
}
