// SPDX-License-Identifier: Apache-2.0
/**
 * Logs as JSON lines on stdout. Bodies and headers are never given to the logger; redaction is the
 * second fence, for the day somebody does.
 */
import { writeSync } from "node:fs";
import { type Logger, type LoggerOptions, pino } from "pino";

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
  const options: LoggerOptions = {
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
  };
  return pino(options, { write: writeLine });
}

/**
 * Our reader may be gone, killed with lines unread. pino's own stream then tries its last lines again
 * for ever while the process exits, so that it never does; a line nobody reads is not worth that.
 */
function writeLine(line: string): void {
  try {
    for (let rest = Buffer.from(line); rest.length > 0; ) rest = rest.subarray(writeSync(1, rest));
  } catch {
    // Lost: nobody is left to be told.
  }
}
