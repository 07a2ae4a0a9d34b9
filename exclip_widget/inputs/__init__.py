"""Inputs: from what people have, captions and images, to token ids and pixels."""
