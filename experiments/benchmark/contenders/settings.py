"""The settings of PyTorch and the lowerings of this project that are compared, by the names that tables show."""

PYTORCH_SETTINGS: dict[str, list[str]] = {
    "PyTorch": [],
    "PyTorch, fused Adam": ["fused"],
    "PyTorch, channels_last": ["channels_last"],
    "PyTorch, channels_last, fused Adam": ["channels_last", "fused"],
    "PyTorch, channels_last, compiled": ["channels_last", "compiled"],
    "PyTorch, channels_last, compiled, fused Adam": ["channels_last", "compiled", "fused"],
}
# Further ones where there is CUDA. JAX multiplies in tf32 there by default. CUDA graphs are those of torch.compile with
# mode="reduce-overhead", which hold the loss of each phase and its gradient, not the optimiser.
PYTORCH_GPU_SETTINGS: dict[str, list[str]] = {
    "PyTorch, channels_last, fused Adam, tf32": ["channels_last", "fused", "tf32"],
    "PyTorch, channels_last, compiled, fused Adam, tf32": ["channels_last", "compiled", "fused", "tf32"],
    "PyTorch, channels_last, CUDA graphs, fused Adam, tf32": ["channels_last", "cuda_graphs", "fused", "tf32"],
    "PyTorch, channels_last, fused Adam, bf16": ["channels_last", "fused", "bf16"],
    "PyTorch, channels_last, CUDA graphs, fused Adam, bf16": ["channels_last", "cuda_graphs", "fused", "bf16"],
}
LOWERINGS = {"aejax, batch-minor lowering": "gemm", "aejax, native lowering": "native"}
PRECISIONS = ("highest", "default")  # of JAX's matrix products
