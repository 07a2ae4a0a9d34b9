"""exclip's minimal_example_open_clip.py, with exclip-widget. Offline: the weights are random.

For a meaningful explanation, load pretrained ones: pretrained="laion2b_s34b_b88k".
"""

import open_clip

from exclip_widget import demo, explain

model, _, _ = open_clip.create_model_and_transforms("ViT-B-16")

image = demo.load().pages[0].image  # or the path of a photo
caption = "A red boat and two yellow fish swimming side by side."

# The interactions of all tokens and patches, with exclip's own numbers: (tokens, rows, columns).
interactions = explain(model, image, caption, method="exclip", rule="right").values
print(interactions.shape)
