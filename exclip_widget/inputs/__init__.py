"""Inputs: from captions and images to token ids and pixels."""
