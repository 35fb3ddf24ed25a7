#include "parallel.h"

#include <ATen/Parallel.h>

#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace stageline {
namespace {

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

// A helper looks for the next loop about this long (tens of microseconds) before it sleeps: longer than the way from
// one operation to the next, shorter than what would keep others from the core.
constexpr int kSpins = 2000;

class Loop final : public Pieces {
 public:
  void reset(int64_t count, int64_t piece) {
    next_.store(0, std::memory_order_relaxed);
    count_ = count;
    piece_ = piece;
  }

  bool take(int64_t& begin, int64_t& end) override {
    begin = next_.fetch_add(piece_, std::memory_order_relaxed);
    end = std::min(begin + piece_, count_);
    return begin < count_;
  }

 private:
  std::atomic<int64_t> next_{0};
  int64_t count_ = 0, piece_ = 1;
};

class Pool {
 public:
  void run(int64_t count, int64_t piece, Participant participant, const void* context) {
    if (!owner_.try_lock()) {  // another thread's loop has the helpers
      Loop mine;
      mine.reset(count, piece);
      participant(context, mine);
      return;
    }
    const std::lock_guard<std::mutex> held(owner_, std::adopt_lock);
    const uint32_t helpers = static_cast<uint32_t>(loop_threads()) - 1;
    while (started_ < helpers) {
      std::thread([this] { help(); }).detach();
      ++started_;
    }
    loop_.reset(count, piece);
    participant_ = participant;
    context_ = context;
    door_.store(kOpen | helpers * kPlace, std::memory_order_release);
    epoch_.fetch_add(1, std::memory_order_release);
    epoch_.notify_all();
    take_part();
    // No piece is left. Close the door, then wait for those who are inside with their last piece.
    door_.fetch_and(~kOpen, std::memory_order_acq_rel);
    for (int spins = 0; (door_.load(std::memory_order_acquire) & kInside) != 0; ++spins)
      spins < kSpins ? relax() : std::this_thread::yield();
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

 private:
  // One word says whether the loop may be entered, by how many more helpers, and how many are inside.
  static constexpr uint32_t kOpen = 1u << 31, kPlace = 1u << 15, kPlaces = kOpen - kPlace, kInside = kPlace - 1;

  bool enter() {
    uint32_t door = door_.load(std::memory_order_acquire);
    while ((door & kOpen) && (door & kPlaces))
      if (door_.compare_exchange_weak(door, door - kPlace + 1, std::memory_order_acq_rel)) return true;
    return false;
  }

  // What it throws (memory is short, say) waits for everybody to be out: others may still be using `context_`.
  void take_part() {
    try {
      participant_(context_, loop_);
    } catch (...) {
      const std::lock_guard<std::mutex> held(error_lock_);
      if (!error_) error_ = std::current_exception();
    }
  }

  void help() {
    uint32_t seen = 0;
    for (;;) {
      uint32_t now = epoch_.load(std::memory_order_acquire);
      for (int spins = 0; now == seen && spins < kSpins; ++spins) {
        relax();
        now = epoch_.load(std::memory_order_acquire);
      }
      if (now == seen) {
        epoch_.wait(seen, std::memory_order_acquire);
        continue;
      }
      seen = now;
      if (enter()) {
        take_part();
        door_.fetch_sub(1, std::memory_order_release);
      }
    }
  }

  std::mutex owner_, error_lock_;
  uint32_t started_ = 0;
  Loop loop_;
  Participant participant_ = nullptr;
  const void* context_ = nullptr;
  std::exception_ptr error_;  // the first of this loop; guarded by error_lock_ while the door is open
  std::atomic<uint32_t> door_{0}, epoch_{0};
};

Pool& pool() {
  static Pool* const made = new Pool;  // never destroyed: helpers may still look at it while the process ends
  return *made;
}

}  // namespace

void run_loop(int64_t count, int64_t piece, Participant participant, const void* context) {
  pool().run(count, piece, participant, context);
}

int64_t loop_threads() { return at::get_num_threads(); }

}  // namespace stageline
