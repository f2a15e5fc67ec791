// Functions of libtorch that tch does not bind: fused optimisers, autocast's number format, clearing of gradients, and
// reproducible algorithms.
//
// Every function returns null on success, or else a message that is valid until the thread's next call. No C++ exception
// leaves this file. A tensor is passed as a pointer to at::Tensor, which is what tch's Tensor::as_ptr returns.

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_amp_foreach_non_finite_check_and_unscale.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <cstdlib>
#include <string>
#include <vector>

namespace {

template <typename Work>
const char* guarded(Work work) {
  thread_local std::string message;
  try {
    work();
    return nullptr;
  } catch (const c10::Error& error) {
    message = error.what_without_backtrace();
  } catch (const std::exception& error) {
    message = error.what();
  } catch (...) {
    message = "an exception of an unknown kind";
  }
  if (message.empty()) message = "an exception without a message";
  return message.c_str();
}

std::vector<at::Tensor> listed(const at::Tensor* const* tensors, size_t count) {
  std::vector<at::Tensor> list;
  list.reserve(count);
  for (size_t i = 0; i < count; ++i) list.push_back(*tensors[i]);
  return list;
}

std::vector<at::Tensor> gradients_of(const at::Tensor* const* parameters, size_t count) {
  std::vector<at::Tensor> gradients;
  gradients.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const at::Tensor& gradient = parameters[i]->grad();
    TORCH_CHECK(gradient.defined(), "parameter ", i, " has no gradient: call backward first");
    gradients.push_back(gradient);
  }
  return gradients;
}

}  // namespace

extern "C" {

const char* fivefold_adam_step(const at::Tensor* const* parameters, const at::Tensor* const* first_moments,
                               const at::Tensor* const* second_moments, size_t count, double step, double learning_rate,
                               double beta1, double beta2, double weight_decay, bool decoupled, double epsilon) {
  return guarded([&] {
    if (count == 0) return;
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> values = listed(parameters, count);
    // All parameters share one step tensor: they are always updated together.
    at::Tensor shared_step = at::full({}, step, values[0].options().dtype(at::kFloat).requires_grad(false));
    std::vector<at::Tensor> steps(count, shared_step);
    auto update = [&](auto fused) {
      fused(values, gradients_of(parameters, count), listed(first_moments, count), listed(second_moments, count),
            /*max_exp_avg_sqs=*/at::TensorList(), steps, learning_rate, beta1, beta2, weight_decay, epsilon,
            /*amsgrad=*/false, /*maximize=*/false);
    };
    if (decoupled) {
      update([](auto&&... arguments) { at::_fused_adamw_(arguments...); });
    } else {
      update([](auto&&... arguments) { at::_fused_adam_(arguments...); });
    }
  });
}

// `momenta` may be null when `momentum` is 0.
const char* fivefold_sgd_step(const at::Tensor* const* parameters, const at::Tensor* const* momenta, size_t count,
                              bool first_step, double learning_rate, double momentum, double weight_decay,
                              bool nesterov) {
  return guarded([&] {
    if (count == 0) return;
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> buffers;
    if (momenta != nullptr) buffers = listed(momenta, count);
    at::_fused_sgd_(listed(parameters, count), gradients_of(parameters, count), buffers, weight_decay, momentum,
                    learning_rate, /*dampening=*/0.0, nesterov, /*maximize=*/false, first_step);
  });
}

const char* fivefold_clear_gradients(const at::Tensor* const* parameters, size_t count) {
  return guarded([&] {
    for (size_t i = 0; i < count; ++i) parameters[i]->mutable_grad() = at::Tensor();
  });
}

// Divides every gradient by `scale` and sets `overflowed` if one is infinite or not a number.
const char* fivefold_unscale_gradients(const at::Tensor* const* parameters, size_t count, double scale,
                                       bool* overflowed) {
  return guarded([&] {
    *overflowed = false;
    if (count == 0) return;
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> gradients = gradients_of(parameters, count);
    at::TensorOptions options = gradients[0].options().dtype(at::kFloat);
    at::Tensor found = at::zeros({1}, options);
    at::Tensor inverse_scale = at::full({1}, 1.0 / scale, options);
    at::_amp_foreach_non_finite_check_and_unscale_(gradients, found, inverse_scale);
    *overflowed = found.item<float>() != 0.0f;
  });
}

// `kind` is 0 for bfloat16 and 1 for float16.
const char* fivefold_enter_autocast(bool cuda, int kind) {
  return guarded([&] {
    at::DeviceType device = cuda ? at::kCUDA : at::kCPU;
    at::autocast::set_autocast_dtype(device, kind == 0 ? at::kBFloat16 : at::kHalf);
    at::autocast::set_autocast_enabled(device, true);
    at::autocast::set_autocast_cache_enabled(true);
    at::autocast::increment_nesting();
  });
}

const char* fivefold_leave_autocast(bool cuda) {
  return guarded([&] {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(cuda ? at::kCUDA : at::kCPU, false);
  });
}

const char* fivefold_set_reproducibility(bool deterministic) {
  return guarded([&] {
    at::Context& context = at::globalContext();
    // Only warns about operations that have no reproducible version.
    context.setDeterministicAlgorithms(deterministic, /*warn_only=*/true);
    context.setDeterministicCuDNN(deterministic);
    context.setBenchmarkCuDNN(!deterministic);
  });
}

// Allowed once, before any parallel work.
const char* fivefold_set_interop_threads(int threads) {
  return guarded([&] { at::set_num_interop_threads(threads); });
}

void fivefold_default_environment(const char* name, const char* value) { setenv(name, value, /*overwrite=*/0); }

}  // extern "C"
