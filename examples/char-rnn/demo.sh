#!/bin/sh
# Shows Spell's main job on real input: makes a Git repository of this folder in a temporary place and trains in it.
# BIN: the folder of the program spell; or SPELL_BUILD: a build folder, which has it in bin/ (default: spell is in PATH).
# STEPS: how long it trains, where the program's own default is too long. Arguments are options of `spell run`.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
bin=${BIN:-${SPELL_BUILD:+$SPELL_BUILD/bin}}
spell=${bin:+$bin/}spell
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); else bold='' plain=''; fi
say() { printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"; }

python=python3
if ! "$python" -c 'import torch' 2>/dev/null; then
  python=/usr/bin/python3
  "$python" -c 'import torch' 2>/dev/null || {
    echo "demo: PyTorch is missing; install the package python3-torch" >&2
    exit 1
  }
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/spell-demo.XXXXXX")
if [ -z "${SPELL_DIR:-}" ]; then
  # Short, because a socket's path may have 107 bytes.
  export SPELL_DIR="$work/spell"
  own_folder=yes
fi
mkdir "$work/char-rnn"
cp "$here/train.py" "$here/README.md" "$here/.gitignore" "$work/char-rnn/"
cd "$work/char-rnn"
git init -q
git add .
git -c user.name=Demo -c user.email=demo@localhost commit -q -m "A network that learns to write"

echo "A repository with a training program: $work/char-rnn"
echo "What Spell keeps of it is in SPELL_DIR=$SPELL_DIR"

train="$python train.py${STEPS:+ --steps $STEPS}"
say "spell run \"$train\""
"$spell" run -f "$train" "$@"

run=$("$spell" ps --quiet -n 1)
say "spell ls runs/$run"
"$spell" ls "runs/$run"
say "spell ls -h runs/$run/checkpoints"
"$spell" ls -h "runs/$run/checkpoints"

cat <<END

What to type next:

  cd $work/char-rnn${own_folder:+; export SPELL_DIR=$SPELL_DIR}
  spell ps                                   # all runs
  spell logs $run                               # the log again
  spell cp runs/$run/checkpoints .              # the checkpoints, here
  spell run -b "$python train.py --steps 2000"   # longer, in the background
  spell logs -f $((run + 1))                            # watch it; ^C leaves it alone
  spell stop $((run + 1))                               # end it and keep its checkpoints
END
if [ -n "$bin" ]; then
  echo
  echo "(Where spell is no known word: PATH=$bin:\$PATH)"
fi
if [ -n "${own_folder:-}" ]; then
  echo
  echo "All of it is in $work: 'spell service stop', then delete the folder, and nothing is left."
fi
