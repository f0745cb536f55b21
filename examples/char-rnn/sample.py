#!/usr/bin/env python3
"""Writes as train.py has learned to: the last line is the text. Takes the newest file in checkpoints/ (--save-dir)."""
import argparse

import torch

from train import CharRNN, checkpoints, sample


def main():
    parser = argparse.ArgumentParser(description="Writes a text, character by character.")
    parser.add_argument("--save-dir", default="checkpoints", help="where the checkpoints are (default: %(default)s)")
    parser.add_argument("--length", type=int, default=200, help="characters (default: %(default)s)")
    parser.add_argument("--prompt", default="The ", help="what it begins with (default: %(default)r)")
    args = parser.parse_args()
    found = checkpoints(args.save_dir)
    if not found:
        raise SystemExit(f"there is no checkpoint in {args.save_dir}")
    saved = torch.load(found[-1])
    model = CharRNN(len(saved["alphabet"]), saved["hidden"])
    model.load_state_dict(saved["model"])
    print(f"{found[-1]}, step {saved['step']}")
    text = sample(model, saved["alphabet"], args.prompt, args.length, 0.7, torch.Generator().manual_seed(1))
    print(" ".join(text.split()))


if __name__ == "__main__":
    main()
