#!/bin/sh
# sdk_library.sh RESULT LIBRARY... -- ARCHIVE...: all of LIBRARY..., and of the archives what it needs, as a library of one object in
# which only the names of namespace spell are to be seen: a program may have another Boost, OpenSSL or SQLite of its own.
set -eu
result=$1 libraries=
shift
while [ "$1" != -- ]; do
  libraries="$libraries $1"
  shift
done
shift
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
# Groups become plain sections: of a group that a program has too the linker keeps one, and ours is ours.
"${LD:-ld}" -r -d --force-group-allocation -o "$parts/all.o" --whole-archive $libraries --no-whole-archive --start-group "$@" --end-group
# Static variables of inline functions are one in the whole process ("unique"), which objcopy cannot take back: they get names
# that nobody else has.
"${NM:-nm}" --defined-only "$parts/all.o" | awk '$2 == "u" { print $3, "spell_own_" $3 }' > "$parts/unique"
cat > "$parts/seen" <<'END'
_ZN5spell*
_ZNK5spell*
_ZNR5spell*
_ZNO5spell*
_ZNKR5spell*
_ZNKO5spell*
_ZTIN5spell*
_ZTSN5spell*
_ZTVN5spell*
END
"${OBJCOPY:-objcopy}" --strip-debug --redefine-syms="$parts/unique" --wildcard --keep-global-symbols="$parts/seen" \
  "$parts/all.o" "$parts/spell.o"
rm -f "$result"
"${AR:-ar}" rcs "$result" "$parts/spell.o"
