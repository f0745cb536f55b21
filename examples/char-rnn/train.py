#!/usr/bin/env python3
"""A character-level recurrent network that learns to write like a text.

    python3 train.py                      learns from the GNU General Public License
    python3 train.py --data my.txt        learns from your own text
    python3 train.py --resume             goes on from the newest checkpoint

Checkpoints go to checkpoints/step-N.pt: written to a temporary file, synced, and renamed into place, so that whoever
reads one of that name reads a whole one. At the end a sampled text is printed.
"""
import argparse
import os
import re
import time

import torch
from torch import nn


class CharRNN(nn.Module):
    """Characters in, logits of the next character out. Shapes: (batch, time) -> (batch, time, characters)."""

    def __init__(self, characters, hidden):
        super().__init__()
        self.embedding = nn.Embedding(characters, 32)
        self.recurrent = nn.GRU(32, hidden, batch_first=True)
        self.output = nn.Linear(hidden, characters)

    def forward(self, inputs, state=None):
        features, state = self.recurrent(self.embedding(inputs), state)
        return self.output(features), state


def save(folder, step, contents, keep):
    path = os.path.join(folder, f"step-{step}.pt")
    with open(path + ".tmp", "wb") as file:
        torch.save(contents, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + ".tmp", path)
    for old in checkpoints(folder)[:-keep]:
        os.remove(old)
    return path


def checkpoints(folder):
    """Paths of the checkpoints, oldest first."""
    if not os.path.isdir(folder):
        return []
    steps = sorted(int(m[1]) for m in (re.fullmatch(r"step-(\d+)\.pt", name) for name in os.listdir(folder)) if m)
    return [os.path.join(folder, f"step-{step}.pt") for step in steps]


def batches(data, size, length, generator):
    """Endless random pieces of the text, and the same moved by one character."""
    while True:
        starts = torch.randint(len(data) - length - 1, (size,), generator=generator)
        pieces = torch.stack([data[start:start + length + 1] for start in starts])
        yield pieces[:, :-1], pieces[:, 1:]


def sample(model, alphabet, prompt, length, temperature, generator):
    index = {character: i for i, character in enumerate(alphabet)}
    text = [character for character in prompt if character in index] or [alphabet[0]]
    inputs, state = torch.tensor([[index[character] for character in text]]), None
    with torch.no_grad():
        for _ in range(length):
            logits, state = model(inputs, state)
            chances = torch.softmax(logits[0, -1] / temperature, dim=0)
            inputs = torch.multinomial(chances, 1, generator=generator).view(1, 1)
            text.append(alphabet[inputs.item()])
    return "".join(text)


def arguments():
    parser = argparse.ArgumentParser(description="Learns to write like a text, character by character.")
    parser.add_argument("--data", default="/usr/share/common-licenses/GPL-3", help="the text (default: %(default)s)")
    parser.add_argument("--save-dir", default="checkpoints", help="where checkpoints go (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=500, help="steps of training (default: %(default)s)")
    parser.add_argument("--save-every", type=int, default=100, help="steps between checkpoints (default: %(default)s)")
    parser.add_argument("--keep", type=int, default=3, help="checkpoints kept (default: %(default)s)")
    parser.add_argument("--hidden", type=int, default=96, help="size of the network (default: %(default)s)")
    parser.add_argument("--sample", type=int, default=400, help="characters written at the end (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint, if there is one")
    return parser.parse_args()


def main():
    args = arguments()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)  # so small a network gains nothing from more, and loses much on a busy computer
    generator = torch.Generator().manual_seed(args.seed)

    with open(args.data, encoding="utf-8", errors="replace") as file:
        text = file.read()
    if len(text) < 1000:
        raise SystemExit(f"{args.data}: {len(text)} characters are too few to learn from")
    alphabet, step = sorted(set(text)), 0
    found = checkpoints(args.save_dir) if args.resume else []
    saved = torch.load(found[-1]) if found else None
    if saved:
        alphabet = saved["alphabet"]
    index = {character: i for i, character in enumerate(alphabet)}
    data = torch.tensor([index[character] for character in text if character in index])

    model = CharRNN(len(alphabet), saved["hidden"] if saved else args.hidden)
    optimizer = torch.optim.Adam(model.parameters(), lr=6e-3)
    if saved:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        generator.set_state(saved["generator"])
        step = saved["step"]
        print(f"resumed from {found[-1]} at step {step}")
    print(f"{args.data}: {len(text):,} characters, {len(alphabet)} different ones; "
          f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)

    os.makedirs(args.save_dir, exist_ok=True)
    source = batches(data, size=16, length=48, generator=generator)
    average, begin, first = None, time.monotonic(), step
    while step < args.steps:
        inputs, targets = next(source)
        logits, _ = model(inputs)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        average = loss.item() if average is None else 0.95 * average + 0.05 * loss.item()
        if step % 20 == 0 or step == args.steps:
            rate = (step - first) / (time.monotonic() - begin)
            print(f"step {step:4d}/{args.steps}  loss {average:.3f}  {rate:.1f} steps/s", flush=True)
        if step % args.save_every == 0 or step == args.steps:
            path = save(args.save_dir, step, {
                "step": step, "alphabet": alphabet, "hidden": model.recurrent.hidden_size, "model": model.state_dict(),
                "optimizer": optimizer.state_dict(), "generator": generator.get_state()}, args.keep)
            print(f"saved {path}", flush=True)

    print("\nWhat it writes now:\n")
    print(sample(model, alphabet, "The ", args.sample, temperature=0.7, generator=generator))


if __name__ == "__main__":
    main()
