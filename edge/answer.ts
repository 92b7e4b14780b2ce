// SPDX-License-Identifier: Apache-2.0
/**
 * What a runner says, from a line. A model that has taken its process over says what it likes; it is kept
 * to this form, and goes no further than to standard output and to the server's list of errors.
 */
import type { Detection, Found } from "./pipelines.ts";
import type { RunnerAnswer } from "./runner.ts";

const DEPTH_MAX = 16;
const MESSAGE_MAX = 500;

/** Null when it is no answer. */
export function readAnswer(line: string): RunnerAnswer | null {
  try {
    const { kind, message, found, eachMs, tookMs, devices } = JSON.parse(line) as Record<string, unknown>;
    if (kind === "loaded") return { kind };
    if (kind === "failed" && typeof message === "string")
      return { kind, message: printable(message), devices: list(devices).map(text) };
    if (kind !== "ran" || !isNumber(tookMs)) return null;
    const each = list(eachMs).map((one) => (isNumber(one) ? one : 0));
    return { kind, tookMs, eachMs: each, found: list(found).map((one) => foundOf(one, 1)) };
  } catch {
    return null;
  }
}

function foundOf(value: unknown, depth: number): Found {
  if (depth > DEPTH_MAX) throw new Error("too deep");
  const { Pipeline, Name, Detections, Chains } = value as Record<string, unknown>;
  return {
    ...{ Pipeline: text(Pipeline), Name: text(Name), Detections: list(Detections).map(detectionOf) },
    Chains: list(Chains).map((one) => foundOf(one, depth + 1)),
  };
}

function detectionOf(value: unknown): Detection {
  const { Class, Score, Box } = value as Record<string, unknown>;
  // What is no number is null in JSON.
  const number = (one: unknown) => (isNumber(one) ? one : Number.NaN);
  return { Class: text(Class), Score: number(Score), Box: list(Box).map(number) };
}

const isNumber = (value: unknown): value is number => typeof value === "number";

function text(value: unknown): string {
  if (typeof value !== "string") throw new Error("no text");
  return value;
}

function list(value: unknown): unknown[] {
  if (!Array.isArray(value)) throw new Error("no list");
  return value;
}

/** It may go to a terminal. */
const printable = (message: string) => message.slice(0, MESSAGE_MAX).replaceAll(/\p{Cc}/gu, " ");
