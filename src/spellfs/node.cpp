#include "spellfs/node.hpp"

#include "base/error.hpp"
#include "base/hash.hpp"
#include "spellfs/bytes.hpp"

namespace spell::spellfs {

namespace {

Error bad_node(const char* what) {
  return base::error("bad_node", std::string("bad node: ") + what);
}

bool valid_entry_name(std::string_view name) {
  return !name.empty() && name.size() <= max_entry_name && name != "." && name != ".." &&
         name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

bool valid_target(std::string_view target) {
  return !target.empty() && target.size() <= max_target &&
         target.find('\0') == std::string_view::npos;
}

/// False if the sums leave their range.
bool add_to(Totals& totals, const Totals& more) {
  totals.size += more.size;
  totals.files += more.files;
  totals.depth = std::max(totals.depth, more.depth);
  return totals.size <= max_size && totals.files <= max_size;
}

Totals totals_of(const Entry& entry) {
  if (entry.type == EntryType::folder) return {entry.size, entry.files, entry.depth};
  return {entry.size, 1, 0};
}

void put_name(std::string& out, const Name& name) {
  out.append(reinterpret_cast<const char*>(name.digest.data()), name.digest.size());
}

Name read_name(ByteReader& in) {
  Name name;
  std::string_view raw = in.bytes(name.digest.size());
  if (!raw.empty()) std::memcpy(name.digest.data(), raw.data(), raw.size());
  return name;
}

/// A folder's own totals count itself as a level of depth; those of the entries do not.
Totals with_self(Totals totals) {
  ++totals.depth;
  return totals;
}

struct Head {
  int level = 0;
  std::int64_t count = 0;
};

Head read_node_head(ByteReader& in) {
  if (in.fixed(1) != node_version) in.fail();
  Head head;
  head.level = static_cast<int>(in.varint(max_level));
  head.count = in.varint(max_items);
  return head;
}

Child read_child(ByteReader& in, Kind kind) {
  Child child;
  child.node = read_name(in);
  if (kind == Kind::folder) child.last = in.text(max_entry_name);
  child.totals.size = in.varint(max_size);
  if (kind == Kind::folder) {
    child.totals.files = in.varint(max_size);
    child.totals.depth = static_cast<int>(in.varint(max_depth));
  }
  return child;
}

std::string encode(const Child& child, Kind kind) {
  std::string out;
  put_name(out, child.node);
  if (kind == Kind::folder) put_text(out, child.last);
  put_varint(out, child.totals.size);
  if (kind == Kind::folder) {
    put_varint(out, child.totals.files);
    put_varint(out, child.totals.depth);
  }
  return out;
}

Entry read_entry(ByteReader& in) {
  Entry entry;
  auto type = in.fixed(1);
  if (type < 1 || type > 3) in.fail();
  entry.type = static_cast<EntryType>(type);
  entry.name = in.text(max_entry_name);
  entry.mode = static_cast<std::uint32_t>(in.varint(07777));
  entry.mtime_ns = static_cast<std::int64_t>(in.fixed(8));
  if (entry.type == EntryType::link) {
    entry.target = in.text(max_target);
  } else {
    entry.size = in.varint(max_size);
    if (entry.type == EntryType::folder) {
      entry.files = in.varint(max_size);
      entry.depth = static_cast<int>(in.varint(max_depth));
    }
    if (entry.type == EntryType::folder || entry.size > 0) entry.node = read_name(in);
  }
  std::size_t room = max_xattrs;
  for (auto count = in.varint(max_xattrs); count > 0 && !in.failed(); --count) {
    std::string key(in.text(room));
    std::string value(in.text(room - key.size()));
    room -= key.size() + value.size();
    if (key.empty() || (!entry.xattrs.empty() && key <= entry.xattrs.rbegin()->first)) in.fail();
    entry.xattrs.emplace_hint(entry.xattrs.end(), std::move(key), std::move(value));
  }
  return entry;
}

std::string encode(const Entry& entry) {
  std::string out(1, static_cast<char>(entry.type));
  put_text(out, entry.name);
  put_varint(out, entry.mode);
  put_fixed(out, static_cast<std::uint64_t>(entry.mtime_ns), 8);
  if (entry.type == EntryType::link) {
    put_text(out, entry.target);
  } else {
    put_varint(out, entry.size);
    if (entry.type == EntryType::folder) {
      put_varint(out, entry.files);
      put_varint(out, entry.depth);
    }
    if (entry.type == EntryType::folder || entry.size > 0) put_name(out, entry.node);
  }
  put_varint(out, static_cast<std::int64_t>(entry.xattrs.size()));
  for (auto& [key, value] : entry.xattrs) {
    put_text(out, key);
    put_text(out, value);
  }
  return out;
}

/// "" if the entry may stand in a folder, else what is wrong.
const char* fault_of(const Entry& entry) {
  if (!valid_entry_name(entry.name)) return "a name that no file can have";
  if (entry.type == EntryType::link && !valid_target(entry.target))
    return "a link without a target";
  // A folder in a folder at the limit would be too deep itself.
  if (entry.type == EntryType::folder && (entry.depth < 1 || entry.depth >= max_depth))
    return "a wrong depth";
  if (entry.mode > 07777 || entry.size < 0 || entry.size > max_size || entry.files < 0 ||
      entry.files > max_size)
    return "a number beyond its limit";
  std::size_t xattrs = 0;
  for (auto& [key, value] : entry.xattrs) {
    if (key.empty()) return "an attribute without a name";
    xattrs += key.size() + value.size();
  }
  if (xattrs > max_xattrs) return "too many attributes";
  return "";
}

}  // namespace

Result<FileNode> decode_file_node(std::string_view bytes) {
  if (bytes.size() > max_object) return bad_node("too large");
  ByteReader in(bytes);
  Head head = read_node_head(in);
  FileNode node;
  node.level = head.level;
  for (std::int64_t i = 0; i < head.count && !in.failed(); ++i) {
    if (head.level > 0) {
      Child child = read_child(in, Kind::file);
      if (child.totals.size == 0) in.fail();
      if (!add_to(node.totals, child.totals)) return bad_node("sizes beyond their limit");
      node.children.push_back(std::move(child));
      continue;
    }
    auto type = in.fixed(1);
    Piece piece;
    piece.size = in.varint(type == 0 ? max_size : static_cast<std::int64_t>(max_object));
    if (type == 1)
      piece.chunk = read_name(in);
    else if (type != 0 || (!node.pieces.empty() && !node.pieces.back().chunk))
      in.fail();
    if (piece.size == 0) in.fail();
    if (!add_to(node.totals, {piece.size, 0, 0})) return bad_node("sizes beyond their limit");
    node.pieces.push_back(std::move(piece));
  }
  if (!in.done() || head.count == 0) return bad_node("not the encoding of a file");
  return node;
}

Result<FolderNode> decode_folder_node(std::string_view bytes) {
  if (bytes.size() > max_object) return bad_node("too large");
  ByteReader in(bytes);
  Head head = read_node_head(in);
  FolderNode node;
  node.level = head.level;
  std::string last;
  for (std::int64_t i = 0; i < head.count && !in.failed(); ++i) {
    std::string name;
    bool added;
    if (head.level > 0) {
      Child child = read_child(in, Kind::folder);
      if (in.failed()) break;
      if (child.totals.depth < 1 || !valid_entry_name(child.last)) return bad_node("a wrong child");
      name = child.last;
      added = add_to(node.totals, child.totals);
      node.children.push_back(std::move(child));
    } else {
      Entry entry = read_entry(in);
      if (in.failed()) break;
      if (const char* fault = fault_of(entry); *fault) return bad_node(fault);
      name = entry.name;
      added = add_to(node.totals, totals_of(entry));
      node.entries.push_back(std::move(entry));
    }
    if (!added) return bad_node("sizes beyond their limit");
    if (i > 0 && name <= last) return bad_node("entries out of order");
    last = std::move(name);
  }
  if (!in.done() || (head.level > 0 && head.count == 0))
    return bad_node("not the encoding of a folder");
  if (head.level == 0) node.totals = with_self(node.totals);
  return node;
}

Result<Description> describe(Kind kind, std::string_view bytes) {
  Description out;
  auto children = [&](const std::vector<Child>& all) {
    for (auto& child : all)
      out.references.push_back({child.node, {kind, out.facts.level - 1, child.totals}});
  };
  switch (kind) {
    case Kind::chunk:
      if (bytes.empty() || bytes.size() > max_object) return bad_node("a chunk of a wrong size");
      out.facts = {kind, 0, {static_cast<std::int64_t>(bytes.size()), 0, 0}};
      return out;
    case Kind::file: {
      auto node = decode_file_node(bytes);
      if (!node) return node.error();
      out.facts = {kind, node->level, node->totals};
      children(node->children);
      for (auto& piece : node->pieces)
        if (piece.chunk)
          out.references.push_back({*piece.chunk, {Kind::chunk, 0, {piece.size, 0, 0}}});
      return out;
    }
    case Kind::folder: {
      auto node = decode_folder_node(bytes);
      if (!node) return node.error();
      out.facts = {kind, node->level, node->totals};
      children(node->children);
      for (auto& entry : node->entries) {
        Reference to{entry.node, {Kind::folder, 0, {entry.size, entry.files, entry.depth}}, true};
        if (entry.type == EntryType::link || (entry.type == EntryType::file && entry.size == 0))
          continue;
        if (entry.type == EntryType::file)
          to.facts = {entry.size <= small_file ? Kind::chunk : Kind::file, 0, {entry.size, 0, 0}};
        out.references.push_back(std::move(to));
      }
      return out;
    }
  }
  return bad_node("an unknown kind");
}

Result<> TreeBuilder::put(std::size_t level, std::string_view item, std::uint8_t key,
                          const Totals& totals, std::string_view last) {
  if (levels_.size() == level) levels_.emplace_back();
  if (levels_[level].count > 0 && levels_[level].body.size() + item.size() > max_node) {
    auto closed = close(level);
    if (!closed) return closed.error();
    SPELL_TRY(put_child(level + 1, *closed));
  }
  Level& open = levels_[level];
  open.body += item;
  ++open.count;
  open.last = last;
  if (!add_to(open.totals, totals)) return bad_node("sizes beyond their limit");
  if (open.count < max_items && (open.count < min_items || key >= 2)) return ok();
  auto closed = close(level);
  if (!closed) return closed.error();
  return put_child(level + 1, *closed);
}

Result<> TreeBuilder::put_child(std::size_t level, const Child& child) {
  if (level > max_level) return bad_node("too many levels");
  if (levels_.size() == level) levels_.emplace_back();
  SPELL_TRY(put(level, encode(child, kind_), child.node.digest[0], child.totals, child.last));
  levels_[level].newest = child;
  return ok();
}

Result<Child> TreeBuilder::close(std::size_t level) {
  Level closed = std::exchange(levels_[level], {});
  std::string bytes(1, static_cast<char>(node_version));
  put_varint(bytes, static_cast<std::int64_t>(level));
  put_varint(bytes, closed.count);
  bytes += closed.body;
  if (kind_ == Kind::folder && level == 0) closed.totals = with_self(closed.totals);
  Child child{name_of(kind_, bytes), std::move(closed.last), closed.totals};
  SPELL_TRY((*emit_)(kind_, child.node, std::move(bytes)));
  return child;
}

Result<> TreeBuilder::put_piece(const Piece& piece) {
  std::string item(1, piece.chunk ? '\1' : '\0');
  put_varint(item, piece.size);
  if (piece.chunk) put_name(item, *piece.chunk);
  return put(0, item, piece.chunk ? piece.chunk->digest[0] : 255, {piece.size, 0, 0}, {});
}

Result<> TreeBuilder::add(const Piece& piece) {
  if (!piece.chunk) {
    hole_ += piece.size;
    return ok();
  }
  if (hole_ > 0) SPELL_TRY(put_piece({std::nullopt, std::exchange(hole_, 0)}));
  return put_piece(piece);
}

Result<> TreeBuilder::add(const Entry& entry) {
  if (const char* fault = fault_of(entry); *fault) return bad_node(fault);
  return put(0, encode(entry), base::sha256(entry.name)[0], totals_of(entry), entry.name);
}

bool TreeBuilder::at_cut(int level) const {
  for (std::size_t i = 0; i < levels_.size() && i <= static_cast<std::size_t>(level); ++i)
    if (levels_[i].count > 0) return false;
  return true;
}

Result<> TreeBuilder::add_node(int level, const Child& node) {
  auto above = static_cast<std::size_t>(level) + 1;
  if (levels_.size() < above) levels_.resize(above);
  return put_child(above, node);
}

Result<Child> TreeBuilder::finish() {
  if (hole_ > 0) SPELL_TRY(put_piece({std::nullopt, std::exchange(hole_, 0)}));
  for (std::size_t level = 0;; ++level) {
    bool top = level + 1 == levels_.size();
    if (top && level > 0 && levels_[level].count == 1) return levels_[level].newest;
    if (levels_[level].count == 0 && !top) continue;
    auto closed = close(level);
    if (!closed || top) return closed;
    SPELL_TRY(put_child(level + 1, *closed));
  }
}

}  // namespace spell::spellfs
