// SPDX-License-Identifier: Apache-2.0
import { Type } from "typebox";
import { MEBIBYTE, operation } from "../operation.ts";
import { SessionParams } from "./vocabulary.ts";

/** Bytes of `input_data`, as UTF-8. */
export const INPUT_MAX = 16 * MEBIBYTE;

/** Bytes of one argument that Linux passes to a program (MAX_ARG_STRLEN less its end). */
export const COMMAND_MAX = 131_071;

export const exec = operation({
  id: "sessions.exec",
  surface: "sessions",
  method: "POST",
  path: "/v1/sessions/:id/exec",
  access: "key",
  tag: "Sessions",
  summary: "Run a command inside the session",
  description:
    "Put data into `input_data`, never into the command: a command line is visible in /proc/<pid>/cmdline. " +
    "The data is a file inside the sandbox, named by $INPUT_DATA and also found at /session/input/data.",
  params: SessionParams,
  query: Type.Object({
    stream: Type.Optional(
      Type.Enum(["0", "1"], {
        description: "1: answer with server-sent events stdout, stderr (base64) and exit",
      }),
    ),
  }),
  body: Type.Object({
    command: Type.String({ minLength: 1, maxLength: 131072, description: "Run by /bin/sh -c in /session" }),
    input_data: Type.Optional(
      Type.String({ description: "Written to $INPUT_DATA before the command starts; at most 16 MiB" }),
    ),
    timeout: Type.Optional(
      Type.Integer({
        minimum: 1,
        description: "Seconds before SIGTERM; default and limit are the session's remaining time",
      }),
    ),
    env: Type.Optional(
      Type.Record(
        Type.String({ pattern: "^[A-Za-z_][A-Za-z0-9_]{0,127}$" }),
        Type.String({ maxLength: 32768 }),
        { additionalProperties: false },
      ),
    ),
    cwd: Type.Optional(Type.String({ maxLength: 4096, pattern: "^/" })),
  }),
  // JSON escapes can make six bytes of one, so the body's bound is above the data's.
  bodyLimit: 6 * INPUT_MAX + MEBIBYTE,
  responses: {
    200: {
      description: "How the command ended",
      schema: Type.Object({
        output: Type.String(),
        stderr: Type.String(),
        exit_code: Type.Integer(),
        timed_out: Type.Boolean(),
        oom_killed: Type.Optional(Type.Boolean()),
        output_truncated: Type.Optional(Type.Boolean()),
      }),
    },
  },
  errors: [
    "identity.unauthorized",
    "session.not-found",
    "session.ended",
    "session.executing",
    "request.invalid",
    "request.too-large",
    "limits.rate",
    "host.away",
    "link.lost",
    "machine.entry-refused",
  ],
  example: { body: { command: "python classify.py", input_data: '{"record": "..."}', timeout: 30 } },
});
