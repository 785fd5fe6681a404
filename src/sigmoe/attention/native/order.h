// Who may add to the gradient of the queries, and when: the same order whatever the threads.
//
// A unit is one block of keys of one key head. Units are taken in order; unit j adds to a block of
// queries only after unit j - 1 of its head has passed that block. A unit waits for earlier ones
// alone, so that no two can wait for each other.
#pragma once
#include <memory>

#include "pack.h"
#include "threads.h"

namespace sigmoe {

template <class Number>
class QueryGradients {
 public:
  QueryGradients(const Call& call, Index units_per_head, Index numbers)
      : group_(call.heads / call.key_heads),
        units_per_head_(units_per_head),
        heads_(call.batch * call.key_heads),
        rows_(round_up(call.queries, kTileRows)),
        numbers_(numbers),
        slots_(least(heads_, ceil_div(call.threads, units_per_head) + 1)),
        sums_(slots_ * slot_size()),
        passed_(new std::atomic<Index>[size_t(units())]()),
        finished_(new std::atomic<Index>[size_t(heads_)]()),
        turn_(new std::atomic<Index>[size_t(slots_)]()) {
    std::memset(sums_, 0, size_t(slots_ * slot_size()) * sizeof(Number));
  }

  Index units() const { return heads_ * units_per_head_; }
  Index head(Index unit) const { return unit / units_per_head_; }
  Index block(Index unit) const { return unit % units_per_head_; }

  // Wait until the memory of this unit's head is free of the head that had it before.
  void enter(Index unit) {
    const Index head = this->head(unit);
    wait_until(turn_[head % slots_], head / slots_);
  }
  // Wait for the turn to add at `place`, which grows within a unit.
  void wait(Index unit, Index place) {
    if (block(unit) > 0) wait_until(passed_[unit - 1], place + 1);
  }
  void pass(Index unit, Index place) {
    passed_[unit].store(place + 1, std::memory_order_release);
  }
  Number* row(Index unit, Index member, Index row) {
    return sums_ + (head(unit) % slots_) * slot_size() + (member * rows_ + row) * numbers_;
  }

  // The last unit of a head to leave writes the head's gradient and frees its memory.
  template <class Write>
  void leave(Index unit, Write&& write) {
    passed_[unit].store(kEverything, std::memory_order_release);
    const Index head = this->head(unit);
    if (finished_[head].fetch_add(1, std::memory_order_acq_rel) + 1 < units_per_head_) return;
    write();
    std::memset(row(unit, 0, 0), 0, size_t(slot_size()) * sizeof(Number));
    turn_[head % slots_].fetch_add(1, std::memory_order_release);
  }

 private:
  static constexpr Index kEverything = Index(1) << 60;

  Index slot_size() const { return group_ * rows_ * numbers_; }
  static void wait_until(const std::atomic<Index>& value, Index least_value) {
    for (int patience = 0; value.load(std::memory_order_acquire) < least_value;)
      wait_a_little(patience);
  }

  const Index group_, units_per_head_, heads_, rows_, numbers_, slots_;
  Buffer<Number> sums_;
  std::unique_ptr<std::atomic<Index>[]> passed_, finished_, turn_;
};

}  // namespace sigmoe
