"""Models: distributions over images and latents, as pure functions of params; and trained models."""
