// SPDX-License-Identifier: Apache-2.0
/**
 * Logs as JSON lines on stdout. Bodies and headers are never given to the logger; redaction is the
 * second fence, for the day somebody does.
 */
import { type Logger, pino } from "pino";

const SECRET = [
  "authorization",
  "api_key",
  "apiKey",
  "key",
  "secret",
  "password",
  "input_data",
  "salt",
  "env",
  "cookie",
];

export function openLog(level: string, name: string): Logger {
  return pino({
    level,
    name,
    redact: { paths: SECRET.flatMap((word) => [word, `*.${word}`, `*.*.${word}`]), censor: "[redacted]" },
    serializers: {
      // A database error carries the row it met; only its code and sentence are for the log.
      err: (error: Error & { code?: string }) => ({
        type: error.name,
        code: error.code,
        message: error.message,
        stack: error.stack,
        cause: error.cause instanceof Error ? `${error.cause.name}: ${error.cause.message}` : undefined,
      }),
    },
  });
}
