// A recorded run of operators, played again on other inputs without going back to Python for each of them.
//
// Between two operators Python takes ten microseconds, as long as a small product; here it is one. What is recorded, and
// that it may be played again, is decided in engine/kernels/replay.py.
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/custom_class.h>
#include <torch/library.h>

#include <string>
#include <utility>
#include <vector>

namespace stageline {
namespace {

struct Argument {
  int64_t slot;  // of a value that the run makes or is given; negative: `constant`
  c10::IValue constant;
};

struct Call {
  c10::OperatorHandle handle;
  std::vector<Argument> arguments;
  int64_t result;              // slot of what it returns, negative for nothing
  std::vector<int64_t> spent;  // slots that no later call reads
};

class Program final : public torch::CustomClassHolder {
 public:
  // Slots 0 to `inputs` - 1 are what the run is given.
  explicit Program(int64_t inputs) : inputs_(inputs), slots_(inputs) {}

  void slot(int64_t index) {
    TORCH_CHECK(index >= 0 && index < slots_, "no such slot");
    pending_.push_back({index, {}});
  }
  void tensor(at::Tensor value) { pending_.push_back({-1, std::move(value)}); }
  void integer(int64_t value) { pending_.push_back({-1, value}); }
  void number(double value) { pending_.push_back({-1, value}); }
  void flag(bool value) { pending_.push_back({-1, value}); }
  void nothing() { pending_.push_back({-1, c10::IValue()}); }
  void dtype_of(const at::Tensor& value) { pending_.push_back({-1, static_cast<int64_t>(value.scalar_type())}); }

  // Ends a call with the arguments given since the last one. Returns its result's slot.
  int64_t call(const std::string& name, const std::string& overload) {
    auto handle = c10::Dispatcher::singleton().findSchemaOrThrow(name.c_str(), overload.c_str());
    TORCH_CHECK(pending_.size() == handle.schema().arguments().size(), name, " takes other arguments");
    const size_t returns = handle.schema().returns().size();
    TORCH_CHECK(returns <= 1, name, " returns several values");
    calls_.push_back({handle, std::exchange(pending_, {}), returns ? slots_++ : -1, {}});
    return calls_.back().result;
  }

  // Nothing is added after this; `result` is the slot that a run returns.
  void finish(int64_t result) {
    TORCH_CHECK(result >= 0 && result < slots_, "no such slot");
    result_ = result;
    std::vector<bool> seen(slots_, false);
    seen[result] = true;
    for (auto call = calls_.rbegin(); call != calls_.rend(); ++call) {
      const auto last = [&](int64_t slot) {
        if (slot < 0 || seen[slot]) return;
        seen[slot] = true;
        call->spent.push_back(slot);
      };
      last(call->result);
      for (const Argument& argument : call->arguments) last(argument.slot);
    }
  }

  at::Tensor run(const std::vector<at::Tensor>& inputs) {
    TORCH_CHECK(static_cast<int64_t>(inputs.size()) == inputs_ && result_ >= 0, "not what was recorded");
    std::vector<c10::IValue> slots(slots_);
    for (int64_t i = 0; i < inputs_; ++i) slots[i] = inputs[i];
    torch::jit::Stack stack;
    for (const Call& call : calls_) {
      stack.clear();
      for (const Argument& argument : call.arguments)
        stack.push_back(argument.slot < 0 ? argument.constant : slots[argument.slot]);
      call.handle.callBoxed(stack);
      if (call.result >= 0) slots[call.result] = std::move(stack.back());
      for (const int64_t slot : call.spent) slots[slot] = {};
    }
    return slots[result_].toTensor();
  }

 private:
  int64_t inputs_, slots_, result_ = -1;
  std::vector<Argument> pending_;
  std::vector<Call> calls_;
};

}  // namespace

TORCH_LIBRARY_FRAGMENT(stageline, m) {
  m.class_<Program>("Program")
      .def(torch::init<int64_t>())
      .def("slot", &Program::slot)
      .def("tensor", &Program::tensor)
      .def("integer", &Program::integer)
      .def("number", &Program::number)
      .def("flag", &Program::flag)
      .def("nothing", &Program::nothing)
      .def("dtype_of", &Program::dtype_of)
      .def("call", &Program::call)
      .def("finish", &Program::finish)
      .def("run", &Program::run);
}

}  // namespace stageline
