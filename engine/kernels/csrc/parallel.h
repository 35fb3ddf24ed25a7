// Loops over the cores of one process, made for short loops on machines that do other work too.
//
// OpenMP cuts a loop into one part a thread and waits at its end for all of them. When another process takes a core in
// between, everybody spins until the thread on it comes back, for milliseconds, at each of some hundred loops a step.
// Here threads take small pieces until none are left. A helper that is not running takes none and nobody waits for it.
#pragma once

#include <algorithm>
#include <cstdint>

namespace stageline {

// The pieces of one loop that nobody has taken yet.
class Pieces {
 public:
  virtual bool take(int64_t& begin, int64_t& end) = 0;

 protected:
  ~Pieces() = default;
};

using Participant = void (*)(const void* context, Pieces& pieces);

// Runs `participant` on this thread and on helpers that are free, until all of 0..count - 1 is done.
void run_loop(int64_t count, int64_t piece, Participant participant, const void* context);

// As many as torch uses.
int64_t loop_threads();

struct NoSetup {};

// Calls body(begin, end) for pieces of at least `least`; each thread that takes part makes a `Setup` of its own first.
template <class Setup = NoSetup, class Body>
void parallel(int64_t count, int64_t least, const Body& body) {
  if (count <= 0) return;
  const int64_t threads = loop_threads();
  const int64_t piece = std::max(least, (count + 4 * threads - 1) / (4 * threads));
  if (threads == 1 || piece >= count) {
    [[maybe_unused]] Setup setup;
    body(int64_t{0}, count);
    return;
  }
  run_loop(
      count, piece,
      [](const void* context, Pieces& pieces) {
        int64_t begin, end;
        if (!pieces.take(begin, end)) return;
        [[maybe_unused]] Setup setup;
        do {
          (*static_cast<const Body*>(context))(begin, end);
        } while (pieces.take(begin, end));
      },
      &body);
}

}  // namespace stageline
