// The gradients: for a block of keys, over blocks of queries, five products of the tiles
// dP = dO V', dS = p (1 - p) dP, dV = P' dO, dK = scale dS' Q, dQ = scale dS K.
#pragma once
#include "forward.h"
#include "order.h"

namespace sigmoe {

template <class Kind>
class Backward {
  using Unit = typename Kind::Unit;
  using Number = typename Kind::Number;

 public:
  Backward(const Call& call, QueryGradients<Number>& shared)
      : call_(call),
        shared_(shared),
        type_(Type(call.type)),
        checks_(has_masks(call) || band_hides_some(call)),
        asks_scores_(call.grad_pairs.data || call.grad_rows.data || call.grad_columns.data),
        width_(padded<Kind>(call.width)),
        value_width_(padded<Kind>(call.value_width)),
        score_(call),
        space_(kKeyBlock * most(width_, value_width_) / Kind::pair),
        keys_(kKeyBlock * width_ / Kind::pair),
        values_(kKeyBlock * value_width_ / Kind::pair),
        key_pairs_(kKeyBlock * width_ / Kind::pair),
        query_rows_(kRowBlock * width_ / Kind::pair),
        query_pairs_(kRowBlock * width_ / Kind::pair),
        out_rows_(kRowBlock * value_width_ / Kind::pair),
        out_pairs_(kRowBlock * value_width_ / Kind::pair),
        weights_(kRowBlock / Kind::pair * kPairStride),
        score_pairs_(kRowBlock / Kind::pair * kPairStride),
        score_rows_(Kind::pair > 1 ? kRowBlock * kRowStride : 0),
        grad_key_((kKeyBlock + kTileRows) * width_),
        grad_value_((kKeyBlock + kTileRows) * value_width_) {}

  void run(Index unit) {
    const Index key_head = shared_.head(unit) % call_.key_heads;
    const Index batch = shared_.head(unit) / call_.key_heads;
    const Index first = shared_.block(unit) * kKeyBlock;
    const Range keys{first, least(call_.keys, first + kKeyBlock)};
    const Index group = call_.heads / call_.key_heads, count = keys.end - keys.begin;
    const Rows<Kind> key_rows = load_keys(batch, key_head, keys);
    std::memset(grad_key_, 0, size_t((count + kTileRows) * width_) * sizeof(Number));
    std::memset(grad_value_, 0, size_t((count + kTileRows) * value_width_) * sizeof(Number));
    shared_.enter(unit);
    const Range seen = queries_of(call_, keys.begin, keys.end);
    for (Index member = 0; member < group; ++member) {
      std::memset(column_sums_, 0, sizeof column_sums_);
      const Place place{batch, key_head * group + member, member, unit};
      for (Index row = seen.begin / kRowBlock * kRowBlock; row < seen.end; row += kRowBlock)
        add_block(place, {row, least(call_.queries, row + kRowBlock)}, keys, key_rows);
      if (call_.grad_columns.data)
        std::memcpy(sums(call_.grad_columns, place, keys.begin), column_sums_,
                    size_t(count) * sizeof(Number));
    }
    for (Index j = 0; j < count; ++j) {
      store_row<Number>(grad_key_ + j * width_, Number(call_.scale), call_.grad_key, type_, batch,
                        key_head, first + j, call_.width);
      store_row<Number>(grad_value_ + j * value_width_, 1, call_.grad_value, type_, batch, key_head,
                        first + j, call_.value_width);
    }
    shared_.leave(unit, [&] { store_grad_query(batch, key_head * group, group, unit); });
  }

 private:
  struct Place {
    Index batch, head, member, unit;
  };
  // Odd numbers of cache lines, so that neighbouring rows do not share one cache set.
  static constexpr Index kPairStride = kKeyBlock + 16;
  static constexpr Index kRowStride = kKeyBlock / Kind::pair + 16;

  Unit* score_rows() { return Kind::pair > 1 ? score_rows_ : score_pairs_; }

  Number* sums(const Tensor& tensor, Place place, Index index) {
    return const_cast<Number*>(row_of<Number>(tensor, place.batch, place.head, index));
  }

  Rows<Kind> load_keys(Index batch, Index key_head, Range keys) {
    const Index count = keys.end - keys.begin;
    const Panels panels(ceil_div(count, Kind::lanes));
    pack_transposed<Kind>(view_rows<Kind>(call_.value, type_, batch, key_head, keys.begin, count,
                                          call_.value_width, space_),
                          count, call_.value_width, panels, values_);
    const Rows<Kind> rows = view_rows<Kind>(call_.key, type_, batch, key_head, keys.begin, count,
                                            call_.width, space_);
    pack_transposed<Kind>(rows, count, call_.width, panels, keys_);
    bad_keys_.count = 0;
    if (checks_) find_bad_rows(rows, count, call_.width, bad_keys_);
    pack_pairs(rows, count, round_up(count, Kind::pair), call_.width, bad_keys_, key_pairs_);
    return rows;
  }

  void load_queries(Place place, Range block) {
    load_side(call_.query, place, block, call_.width, query_rows_, query_pairs_, bad_queries_);
    load_side(call_.grad_out, place, block, call_.value_width, out_rows_, out_pairs_, bad_outs_);
  }
  void load_side(const Tensor& tensor, Place place, Range block, Index width, Unit* rows,
                 Unit* pairs, BadRows& bad) {
    const Index count = block.end - block.begin, padded_count = round_up(count, kTileRows);
    load_rows<Kind>(tensor, type_, place.batch, place.head, block.begin, count, padded_count, width,
                    rows);
    const Rows<Kind> view{rows, padded<Kind>(width) / Kind::pair};
    bad.count = 0;
    if (checks_) find_bad_rows(view, count, width, bad);
    pack_pairs(view, count, padded_count, width, bad, pairs);
  }

  void add_block(Place place, Range block, Range keys, Rows<Kind> key_rows) {
    load_queries(place, block);
    std::memset(row_sums_, 0, sizeof row_sums_);
    score(place, block, keys);
    const Index count = keys.end - keys.begin;
    for (Index key = 0; key < count; key += kTileRows)
      add_to_key(block, keys, key, weights_, {out_rows_, value_width_ / Kind::pair}, out_pairs_,
                 bad_outs_, call_.value_width, grad_value_);
    for (Index key = 0; key < count; key += kTileRows)
      add_to_key(block, keys, key, score_pairs_, {query_rows_, width_ / Kind::pair}, query_pairs_,
                 bad_queries_, call_.width, grad_key_);
    const Index step = place.member * ceil_div(call_.queries, kRowBlock) + block.begin / kRowBlock;
    shared_.wait(place.unit, step);
    for (Index row = block.begin; row < block.end; row += kTileRows)
      add_to_query(place, {row, least(block.end, row + kTileRows)}, row - block.begin, keys,
                   key_rows);
    if (call_.grad_rows.data)
      for (Index row = block.begin; row < block.end; ++row)
        *sums(call_.grad_rows, place, row) += row_sums_[row - block.begin];
    shared_.pass(place.unit, step);
  }

  // Weights and score gradients of all tiles of the block; zeros where all pairs are hidden.
  void score(Place place, Range block, Range keys) {
    const Panels panels(ceil_div(keys.end - keys.begin, Kind::lanes));
    for (Index panel = 0; panel < panels.count; ++panel) {
      with_width(panels.width(panel), [&](auto width) {
        const Index column = panels.first(panel) * Kind::lanes;
        const Range columns{keys.begin + column,
                            least(keys.end, keys.begin + column + width * Kind::lanes)};
        for (Index row = block.begin; row < block.end; row += kTileRows) {
          const Range rows{row, least(block.end, row + kTileRows)};
          const Range seen = keys_of(call_, rows.begin, rows.end);
          const Index index = row - block.begin;
          if (seen.begin >= columns.end || seen.end <= columns.begin) {
            store_tiles<width>(Tile<Kind, width>{}, Tile<Kind, width>{}, index, column);
          } else if (has_masks(call_) || !band_covers(call_, rows, columns)) {
            fill_extra(call_, place.batch, place.head, row, columns.begin, width * Kind::lanes,
                       extra_);
            score_tile<true, width>(index, column);
          } else {
            score_tile<false, width>(index, column);
          }
          if (asks_scores_ && seen.begin < columns.end && seen.end > columns.begin)
            add_sums(place, rows, columns, index, column);
        }
      });
    }
  }

  template <bool Masked, int Vectors>
  void score_tile(Index row, Index column) {
    constexpr Index stride = Vectors * Kind::lanes;
    const Index units = width_ / Kind::pair, value_units = value_width_ / Kind::pair;
    Tile<Kind, Vectors> weights, scores;
    multiply<Kind, false, Vectors>(query_rows_ + row * units, units, keys_ + column * units, stride,
                                   ceil_div(call_.width, Kind::pair), weights);
    gate_tile<Kind, Masked, Vectors>(weights, score_, extra_, &slopes_[0][0]);
    Kind::store_pairs(weights, weights_ + row / Kind::pair * kPairStride + column, kPairStride);
    multiply<Kind, false, Vectors>(out_rows_ + row * value_units, value_units,
                                   values_ + column * value_units, stride,
                                   ceil_div(call_.value_width, Kind::pair), scores);
#pragma GCC unroll 8
    for (int m = 0; m < kTileRows; ++m)
#pragma GCC unroll 8
      for (int n = 0; n < Vectors; ++n) {
        using Lanes = typename Kind::Lanes;
        const Lanes slope = load<Lanes>(&slopes_[m][n * Kind::lanes]);
        scores[m][n] *= slope;
        // A hidden value may be infinite.
        if constexpr (Masked) scores[m][n] = choose(slope == Lanes{}, Lanes{}, scores[m][n]);
        if (asks_scores_) store(&slopes_[m][n * Kind::lanes], scores[m][n]);
      }
    store_scores<Vectors>(scores, row, column);
  }

  template <int Vectors>
  SIGMOE_INLINE void store_scores(const Tile<Kind, Vectors>& scores, Index row, Index column) {
    Kind::store_pairs(scores, score_pairs_ + row / Kind::pair * kPairStride + column, kPairStride);
    if constexpr (Kind::pair > 1)
      Kind::store_rows(scores, score_rows_ + row * kRowStride + column / Kind::pair, kRowStride);
  }

  template <int Vectors>
  void store_tiles(const Tile<Kind, Vectors>& weights, const Tile<Kind, Vectors>& scores, Index row,
                   Index column) {
    Kind::store_pairs(weights, weights_ + row / Kind::pair * kPairStride + column, kPairStride);
    store_scores<Vectors>(scores, row, column);
  }

  // Hand out the score gradients of a tile, which lie in slopes_, as the call asks for them.
  void add_sums(Place place, Range rows, Range columns, Index row, Index column) {
    for (Index m = 0; m < rows.end - rows.begin; ++m) {
      const Index count = columns.end - columns.begin;
      if (call_.grad_pairs.data) {
        Number* pairs = sums(call_.grad_pairs, place, rows.begin + m) + columns.begin;
        for (Index c = 0; c < count; ++c) pairs[c] += slopes_[m][c];
      }
      for (Index c = 0; c < count; ++c) row_sums_[row + m] += slopes_[m][c];
      for (Index c = 0; c < count; ++c) column_sums_[column + c] += slopes_[m][c];
    }
  }

  // Six keys from `key`: += (weights or score gradients)' (rows of the block).
  void add_to_key(Range block, Range keys, Index key, const Unit* tiles, Rows<Kind> rows,
                  const Unit* pairs, const BadRows& bad, Index width, Number* out) {
    const Index numbers = padded<Kind>(width);
    const Range seen = queries_of(call_, keys.begin + key,
                                  least(keys.end, keys.begin + key + kTileRows));
    const Index begin = most(seen.begin, block.begin) - block.begin;
    const Index end = least(seen.end, block.end) - block.begin;
    if (begin >= end) return;
    const Index from = begin / Kind::pair;
    Number* to = out + key * numbers;
    add_product<Kind, true>(tiles + from * kPairStride + key, kPairStride, pairs + from * numbers,
                            numbers, ceil_div(end, Kind::pair) - from, Number(1), to, numbers,
                            Panels(ceil_div(width, Kind::lanes)));
    if (bad.count)
      add_bad_rows<Kind, true>(bad, rows, width, {begin, end}, tiles, kPairStride, key, Number(1),
                               to, numbers);
  }

  // Six queries: += scale (score gradients) (rows of the keys).
  void add_to_query(Place place, Range rows, Index row, Range keys, Rows<Kind> key_rows) {
    const Range seen = keys_of(call_, rows.begin, rows.end);
    const Index begin = most(seen.begin, keys.begin) - keys.begin;
    const Index end = least(seen.end, keys.end) - keys.begin;
    if (begin >= end) return;
    const Index from = begin / Kind::pair;
    const Unit* scores = score_rows() + row * kRowStride;
    Number* to = shared_.row(place.unit, place.member, rows.begin);
    add_product<Kind, false>(scores + from, kRowStride, key_pairs_ + from * width_, width_,
                             ceil_div(end, Kind::pair) - from, Number(call_.scale), to, width_,
                             Panels(ceil_div(call_.width, Kind::lanes)));
    if (bad_keys_.count)
      add_bad_rows<Kind, false>(bad_keys_, key_rows, call_.width, {begin, end}, scores, kRowStride,
                                0, Number(call_.scale), to, width_);
  }

  void store_grad_query(Index batch, Index first_head, Index group, Index unit) {
    for (Index member = 0; member < group; ++member)
      for (Index row = 0; row < call_.queries; ++row)
        store_row<Number>(shared_.row(unit, member, row), 1, call_.grad_query, type_, batch,
                          first_head + member, row, call_.width);
  }

  const Call& call_;
  QueryGradients<Number>& shared_;
  const Type type_;
  const bool checks_, asks_scores_;
  const Index width_, value_width_;
  const Score<Number> score_;
  Buffer<Unit> space_, keys_, values_, key_pairs_, query_rows_, query_pairs_, out_rows_, out_pairs_;
  Buffer<Unit> weights_, score_pairs_, score_rows_;
  Buffer<Number> grad_key_, grad_value_;
  BadRows bad_keys_, bad_queries_, bad_outs_;
  alignas(64) Number extra_[kTileRows][kTileColumns];
  alignas(64) Number slopes_[kTileRows][kTileColumns];
  Number row_sums_[kRowBlock], column_sums_[kKeyBlock];
};

template <class Kind>
bool backward(const Call& call) {
  QueryGradients<typename Kind::Number> shared(call, ceil_div(call.keys, kKeyBlock),
                                               padded<Kind>(call.width));
  std::atomic<Index> next{0};
  return on_threads(least(call.threads, shared.units()), [&] {
    Backward<Kind> worker(call, shared);
    for (Index unit; (unit = next++) < shared.units();) worker.run(unit);
  });
}

}  // namespace sigmoe
