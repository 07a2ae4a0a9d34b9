"""exclip's minimal_example_openai.py, with exclip-widget. Offline: the weights are random.

To install OpenAI's package: pip install git+https://github.com/openai/CLIP.git
"""

from clip.model import CLIP

from exclip_widget import demo, explain

# For a meaningful explanation, load pretrained weights: clip.load("ViT-B/16", device="cpu")[0].
model = CLIP(512, 224, 12, 768, 16, 77, 49408, 512, 8, 12).eval()

image = demo.load().pages[0].image  # or the path of a photo
caption = "A red boat and two yellow fish swimming side by side."

# The interactions of all tokens and patches, with exclip's own numbers: (tokens, rows, columns).
interactions = explain(model, image, caption, method="exclip", rule="right").values
print(interactions.shape)
