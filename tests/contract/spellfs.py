"""Objects and packs of SpellFS, written from the description of the formats (src/spellfs/node.hpp, pack.hpp) alone."""
import hashlib
import struct

SMALL_FILE = 16 << 10


def digest(kind, data):
    return hashlib.sha256(kind + data).digest()


def text_of(name):
    return "s" + name.hex() if name else ""


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def text(data):
    return varint(len(data)) + data


class Objects:
    """Objects in an order that a pack may have: an object after all that it names."""

    def __init__(self):
        self.list = []

    def add(self, kind, data):
        name = digest(kind, data)
        if all(name != known for known, _, _ in self.list):
            self.list.append((name, kind, data))
        return name

    def file(self, data):
        """The name of a file's content, as its entry has it; b"" of an empty file."""
        if not data:
            return b""
        if len(data) <= SMALL_FILE:
            return self.add(b"c", data)
        pieces = [data[at:at + 65536] for at in range(0, len(data), 65536)]
        assert len(pieces) <= 512, "one node"
        items = b"".join(b"\x01" + varint(len(piece)) + self.add(b"c", piece) for piece in pieces)
        return self.add(b"f", b"\x01" + b"\x00" + varint(len(pieces)) + items)

    def folder(self, files, size=None):
        """The name of a folder of plain files: {name: bytes}, or {name: (size, name of its content)}."""
        items = b""
        for name in sorted(files):
            content = files[name]
            length, node = content if isinstance(content, tuple) else (len(content), self.file(content))
            items += b"\x01" + text(name.encode()) + varint(0o644) + struct.pack("<q", 1_700_000_000_000_000_000) + varint(length) + node + b"\x00"
        return self.add(b"t", b"\x01" + b"\x00" + varint(len(files)) + items)

    def pack(self, only=None):
        out, index = bytearray(b"spellpk\x01\x00\x00"), b""
        header = bytes(out)
        chosen = [entry for entry in self.list if only is None or entry[0] in only]
        for name, kind, data in chosen:
            head = struct.pack("<cBHII", kind, 0, 0, len(data), len(data)) + name
            index += head + struct.pack("<Q", len(out))
            out += head + data
        numbers = struct.pack("<QQ", len(out), len(chosen))
        return bytes(out + index + numbers + hashlib.sha256(header + index + numbers).digest() + b"spellend")
