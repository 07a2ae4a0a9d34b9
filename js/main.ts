/** What anywidget loads for one caption. */
import type { AnyWidget } from "@anywidget/types";
import { mount } from "./parts/view.ts";
import type { Traits } from "./protocol.ts";
import { widgetOf } from "./widget.ts";

export default widgetOf(mount) satisfies AnyWidget<Partial<Traits>>;
