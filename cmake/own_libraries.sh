#!/bin/sh
# own_libraries.sh with|by-name LIBRARY ARCHIVE...: what LIBRARY uses of the archives goes by names that nobody else has, so that a
# program may have another SQLite or libgit2 of its own. `with`: the archives become part of it.
set -eu
how=$1 library=$2
shift 2
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
"${NM:-nm}" -g --defined-only --quiet "$@" | awk 'NF == 3 && !seen[$3]++ { print $3, "spell_own_" $3 }' > "$parts/names"
if [ "$how" = with ]; then
  {
    echo "create $parts/all.a"
    for archive in "$library" "$@"; do echo "addlib $archive"; done
    echo save
  } | "${AR:-ar}" -M
else
  cp "$library" "$parts/all.a"
fi
"${OBJCOPY:-objcopy}" --redefine-syms="$parts/names" "$parts/all.a" "$parts/own.a"
mv "$parts/own.a" "$library"
