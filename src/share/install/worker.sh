#!/bin/sh
# Installs spell-worker-service from the Spell service that handed out this script.
set -eu

packages='@PACKAGES@'

fail() {
  echo "spell: $*" >&2
  exit 1
}

# A function, so that half of a script does nothing.
install_worker() {
  [ "$(id -u)" = 0 ] || fail "only root can install a package; end the line with: | sudo sh"
  command -v dpkg > /dev/null || fail "there is no dpkg here; the package is for Debian and Ubuntu"
  architecture=$(dpkg --print-architecture)
  file='' sum=''
  while read -r its_architecture its_file its_sum; do
    [ "$its_architecture" = "$architecture" ] || continue
    file=$its_file sum=$its_sum
  done << LIST
$packages
LIST
  [ -n "$file" ] || fail "the service has no package for $architecture"
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  chmod 755 "$folder" # apt reads it as a user of its own
  @FETCH@ -o "$folder/$file" "@URL@/install/$file" || fail "cannot fetch $file from @URL@"
  echo "$sum  $folder/$file" | sha256sum --check --quiet || fail "$file is not what the service said it would send"
  if command -v apt-get > /dev/null; then
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends --allow-downgrades "$folder/$file" < /dev/null
  else
    dpkg -i "$folder/$file" < /dev/null
  fi
}

install_worker
