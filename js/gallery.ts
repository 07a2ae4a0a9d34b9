/** The module that anywidget loads for a gallery. */
import { createGalleryState } from "./gallery/state.ts";
import { mountGallery } from "./gallery/view.ts";
import { widgetOf } from "./widget.ts";

export default widgetOf(createGalleryState, mountGallery);
