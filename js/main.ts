/** The module that anywidget loads for one caption. */
// First in the bundle, which compresses 300 bytes better in this order.
import "./state/widget-state.ts";
import type { AnyWidget } from "@anywidget/types";
import { mount } from "./parts/view.ts";
import type { Traits } from "./protocol.ts";
import { createState } from "./state/widget-state.ts";
import { widgetOf } from "./widget.ts";

export default widgetOf(createState, mount) satisfies AnyWidget<Partial<Traits>>;
