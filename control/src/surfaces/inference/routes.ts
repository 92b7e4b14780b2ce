// SPDX-License-Identifier: Apache-2.0
/** The whole surface at a glance. */
import { chatCompletions, completions, embeddings, listModels } from "#contract/inference/index.ts";
import { type Route, route } from "../../http/call.ts";
import { ask } from "./ask.ts";
import type { Deps } from "./deps.ts";

export function inferenceRoutes(deps: Deps): Route[] {
  return [
    route(chatCompletions, (call) => ask(deps, call, "chat")),
    route(completions, (call) => ask(deps, call, "completions")),
    route(embeddings, (call) => ask(deps, call, "embeddings")),
    route(listModels, async () => ({
      status: 200,
      body: {
        object: "list",
        data: [...deps.upstreams.models.values()].map(({ id, upstream }) => ({
          ...{ id, object: "model", created: 0, owned_by: upstream },
        })),
      },
    })),
  ];
}
