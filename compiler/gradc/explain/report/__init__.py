"""One page that shows a compilation: graph, mathematics, kernels, timings, memory and the gradient check."""
