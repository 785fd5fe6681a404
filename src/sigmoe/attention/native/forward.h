// The output: for a block of queries, over blocks of keys, weights of a tile times its values.
#pragma once
#include "extra.h"
#include "pack.h"
#include "threads.h"

namespace sigmoe {

constexpr Index kKeyBlock = 256;
constexpr Index kRowBlock = 16 * kTileRows;

template <class Kind>
class Forward {
  using Unit = typename Kind::Unit;
  using Number = typename Kind::Number;

 public:
  Forward(const Call& call, Index rows)
      : call_(call),
        type_(Type(call.type)),
        checks_(has_masks(call) || band_hides_some(call)),
        query_units_(padded<Kind>(call.width) / Kind::pair),
        value_numbers_(padded<Kind>(call.value_width)),
        score_(call),
        queries_(round_up(rows, kTileRows) * query_units_),
        out_(round_up(rows, kTileRows) * value_numbers_),
        space_(kKeyBlock * most(query_units_, value_numbers_ / Kind::pair)),
        keys_(kKeyBlock * query_units_),
        values_(kKeyBlock / Kind::pair * value_numbers_),
        weights_(kRowBlock * kWeightStride) {}

  // Compute rows [rows.begin, rows.end) of one head.
  void run(Index batch, Index head, Range rows) {
    const Index count = rows.end - rows.begin;
    const Index padded_count = round_up(count, kTileRows);
    load_rows<Kind>(call_.query, type_, batch, head, rows.begin, count, padded_count, call_.width,
                    queries_);
    std::memset(out_, 0, size_t(padded_count * value_numbers_) * sizeof(Number));
    const Range all = keys_of(call_, rows.begin, rows.end);
    for (Index first = all.begin / kKeyBlock * kKeyBlock; first < all.end; first += kKeyBlock) {
      const Range keys{first, least(all.end, first + kKeyBlock)};
      const Rows<Kind> values = load_keys(batch, head, keys);
      for (Index row = 0; row < count; row += kRowBlock) {
        const Range block{row, least(count, row + kRowBlock)};
        weigh(batch, head, rows.begin, block, keys);
        add_values(rows.begin, block, keys, values);
      }
    }
    for (Index r = 0; r < count; ++r)
      store_row<Number>(out_ + r * value_numbers_, 1, call_.out, type_, batch, head, rows.begin + r,
                        call_.value_width);
  }

 private:
  // An odd number of cache lines, so that the rows of a tile do not share one cache set.
  static constexpr Index kWeightStride = kKeyBlock / Kind::pair + 16;

  Rows<Kind> load_keys(Index batch, Index head, Range keys) {
    const Index count = keys.end - keys.begin, key_head = head / (call_.heads / call_.key_heads);
    const Panels panels(ceil_div(count, Kind::lanes));
    pack_transposed<Kind>(
        view_rows<Kind>(call_.key, type_, batch, key_head, keys.begin, count, call_.width, space_),
        count, call_.width, panels, keys_);
    const Rows<Kind> values = view_rows<Kind>(call_.value, type_, batch, key_head, keys.begin,
                                              count, call_.value_width, space_);
    bad_.count = 0;
    if (checks_) find_bad_rows(values, count, call_.value_width, bad_);
    pack_pairs(values, count, round_up(count, Kind::pair), call_.value_width, bad_, values_);
    return values;
  }

  // Weights of the tiles of a block of rows that see some key, panel by panel.
  void weigh(Index batch, Index head, Index origin, Range block, Range keys) {
    const Panels panels(ceil_div(keys.end - keys.begin, Kind::lanes));
    for (Index panel = 0; panel < panels.count; ++panel) {
      with_width(panels.width(panel), [&](auto width) {
        const Index column = panels.first(panel) * Kind::lanes;
        const Range columns{keys.begin + column,
                            least(keys.end, keys.begin + column + width * Kind::lanes)};
        for (Index row = block.begin; row < block.end; row += kTileRows) {
          const Range rows{origin + row, origin + least(block.end, row + kTileRows)};
          const Range seen = keys_of(call_, rows.begin, rows.end);
          if (seen.begin >= columns.end || seen.end <= columns.begin) continue;
          Unit* to = weights_ + (row - block.begin) * kWeightStride + column / Kind::pair;
          const Unit* query = queries_ + row * query_units_;
          if (has_masks(call_) || !band_covers(call_, rows, columns)) {
            fill_extra(call_, batch, head, rows.begin, columns.begin, width * Kind::lanes, extra_);
            weigh_tile<true, width>(query, keys_ + column * query_units_, to);
          } else {
            weigh_tile<false, width>(query, keys_ + column * query_units_, to);
          }
        }
      });
    }
  }

  template <bool Masked, int Vectors>
  void weigh_tile(const Unit* query, const Unit* key, Unit* to) {
    Tile<Kind, Vectors> tile;
    multiply<Kind, false, Vectors>(query, query_units_, key, Vectors * Kind::lanes,
                                   ceil_div(call_.width, Kind::pair), tile);
    gate_tile<Kind, Masked, Vectors>(tile, score_, extra_, nullptr);
    Kind::store_rows(tile, to, kWeightStride);
  }

  void add_values(Index origin, Range block, Range keys, Rows<Kind> values) {
    const Panels panels(ceil_div(call_.value_width, Kind::lanes));
    for (Index row = block.begin; row < block.end; row += kTileRows) {
      const Range seen =
          keys_of(call_, origin + row, origin + least(block.end, row + kTileRows));
      const Index begin = most(seen.begin, keys.begin) - keys.begin;
      const Index end = least(seen.end, keys.end) - keys.begin;
      if (begin >= end) continue;
      const Unit* weight = weights_ + (row - block.begin) * kWeightStride;
      const Index from = begin / Kind::pair;
      Number* out = out_ + row * value_numbers_;
      add_product<Kind, false>(weight + from, kWeightStride, values_ + from * value_numbers_,
                               value_numbers_, ceil_div(end, Kind::pair) - from, Number(1), out,
                               value_numbers_, panels);
      if (bad_.count)
        add_bad_rows<Kind, false>(bad_, values, call_.value_width, {begin, end}, weight,
                                  kWeightStride, 0, Number(1), out, value_numbers_);
    }
  }

  const Call& call_;
  const Type type_;
  const bool checks_;
  const Index query_units_, value_numbers_;
  const Score<Number> score_;
  Buffer<Unit> queries_;
  Buffer<Number> out_;
  Buffer<Unit> space_, keys_, values_, weights_;
  BadRows bad_;
  alignas(64) Number extra_[kTileRows][kTileColumns];
};

// Rows of one piece of work: enough pieces for many threads, each long enough to pay its packing.
// It depends on the shape alone; no result depends on it.
inline Index rows_per_item(const Call& call) {
  const Index all = call.batch * call.heads * call.queries;
  return most(kRowBlock, least(4 * kRowBlock, round_up(ceil_div(all, 32), kRowBlock)));
}

template <class Kind>
bool forward(const Call& call) {
  const Index rows = rows_per_item(call);
  const Index blocks = ceil_div(call.queries, rows), heads = call.batch * call.heads;
  std::atomic<Index> next{0};
  return on_threads(least(call.threads, blocks * heads), [&] {
    Forward<Kind> worker(call, least(rows, call.queries));
    // The last queries come first: under a causal band they see the most keys.
    for (Index item; (item = next++) < blocks * heads;) {
      const Index head = item % heads, first = (blocks - 1 - item / heads) * rows;
      worker.run(head / call.heads, head % call.heads,
                 {first, least(call.queries, first + rows)});
    }
  });
}

}  // namespace sigmoe
