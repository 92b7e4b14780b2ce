// SPDX-License-Identifier: Apache-2.0
/** The gateway of models: the part of OpenAI's API that programs ask models by, for instances alone. */
import { type TSchema, Type } from "typebox";
import { MEBIBYTE, type Operation, operation } from "../operation.ts";

const Nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);

/** OpenAI's form. */
export const ErrorBody = Type.Object({
  error: Type.Object({
    message: Type.String(),
    type: Type.String(),
    code: Nullable(Type.String()),
    param: Nullable(Type.String()),
  }),
});

/** Pictures stand in it as text. */
const BODY_MAX = 16 * MEBIBYTE;
const Tokens = Type.Optional(Nullable(Type.Integer({ minimum: 1, maximum: 1e7 })));

/** What we look at; everything else goes on as it came. */
const CALL = {
  model: Type.Optional(
    Type.String({ minLength: 1, maxLength: 200, description: "Absent: the instance's own" }),
  ),
  stream: Type.Optional(Nullable(Type.Boolean())),
  stream_options: Type.Optional(
    Nullable(Type.Object({ include_usage: Type.Optional(Nullable(Type.Boolean())) })),
  ),
  max_tokens: Tokens,
  max_completion_tokens: Tokens,
  n: Type.Optional(Nullable(Type.Integer({ minimum: 1, maximum: 128 }))),
};

const ERRORS = [
  ...(["identity.unauthorized", "limits.rate", "request.invalid", "request.too-large"] as const),
  ...(["inference.unavailable", "inference.model", "inference.quota", "inference.upstream"] as const),
  ...(["inference.too-slow", "inference.busy"] as const),
];

const asked = {
  surface: "inference",
  method: "POST",
  access: "key",
  tag: "Models",
  bodyLimit: BODY_MAX,
  errors: ERRORS,
} as const;
const answered = (description: string) => ({
  200: { description, schema: Type.Object({}, { description: "As the model's server answers" }) },
});

export const chatCompletions = operation({
  ...asked,
  id: "inference.chat",
  path: "/inference/v1/chat/completions",
  summary: "Ask a model in a conversation",
  description: "With `stream` the answer is of server-sent events. Used tokens are counted in both.",
  body: Type.Object({ ...CALL, messages: Type.Array(Type.Object({}), { minItems: 1, maxItems: 10_000 }) }),
  responses: answered("What the model says"),
  example: { body: { messages: [{ role: "user", content: "Hello" }] } },
});

export const completions = operation({
  ...asked,
  id: "inference.completions",
  path: "/inference/v1/completions",
  summary: "Let a model go on with a text",
  body: Type.Object({ ...CALL, prompt: Type.Union([Type.String(), Type.Array(Type.Unknown())]) }),
  responses: answered("What the model says"),
  example: { body: { prompt: "Once upon a time" } },
});

export const embeddings = operation({
  ...asked,
  id: "inference.embeddings",
  path: "/inference/v1/embeddings",
  summary: "Make vectors of texts",
  body: Type.Object({ model: CALL.model, input: Type.Union([Type.String(), Type.Array(Type.Unknown())]) }),
  responses: answered("The vectors"),
  example: { body: { input: "Hello" } },
});

export const listModels = operation({
  id: "inference.models",
  surface: "inference",
  method: "GET",
  path: "/inference/v1/models",
  access: "key",
  tag: "Models",
  summary: "List models",
  responses: {
    200: {
      description: "Those that can be asked",
      schema: Type.Object({
        object: Type.Literal("list"),
        data: Type.Array(
          Type.Object({
            ...{ id: Type.String(), object: Type.Literal("model") },
            ...{ created: Type.Integer(), owned_by: Type.String() },
          }),
        ),
      }),
    },
  },
  errors: ["identity.unauthorized", "limits.rate"],
});

export const INFERENCE: readonly Operation[] = [chatCompletions, completions, embeddings, listModels];
