// SPDX-License-Identifier: Apache-2.0
/** Metrics in the Prometheus text format. Labels have few values: operations and statuses, never ids. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

export interface Metrics {
  answered(operation: string, status: number, elapsedMs: number): void;
  /** Of how long something takes, by a label of few values. */
  durations(name: string, help: string, label: string): (value: string, elapsedMs: number) => void;
  /** A number read when the page is asked for. */
  gauge(name: string, help: string, read: () => number | Promise<number>): void;
  text(): Promise<string>;
  readonly contentType: string;
}

export function openMetrics(): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: "casemate_" });
  // Counted here and handed over when the page is asked for: finding a series by its labels costs more than counting.
  const operations = new Map<string, Counted>();
  new Counter({
    name: "casemate_http_requests_total",
    help: "Answers by operation and status",
    labelNames: ["operation", "status"],
    registers: [registry],
    collect() {
      this.reset();
      for (const [operation, { statuses }] of operations)
        for (const [status, count] of statuses) this.inc({ operation, status: String(status) }, count);
    },
  });
  const seconds = new Histogram({
    name: "casemate_http_request_seconds",
    help: "Time to answer by operation",
    labelNames: ["operation"],
    buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30],
    registers: [registry],
  });
  return {
    answered(operation, status, elapsedMs) {
      let counted = operations.get(operation);
      if (counted === undefined) {
        counted = { statuses: new Map(), seconds: seconds.labels(operation) };
        operations.set(operation, counted);
      }
      counted.statuses.set(status, (counted.statuses.get(status) ?? 0) + 1);
      counted.seconds.observe(elapsedMs / 1000);
    },
    durations(name, help, label) {
      const all = new Histogram({
        ...{ name, help, labelNames: [label], registers: [registry] },
        buckets: [0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900],
      });
      return (value, elapsedMs) => all.observe({ [label]: value }, elapsedMs / 1000);
    },
    gauge(name, help, read) {
      new Gauge({
        name,
        help,
        registers: [registry],
        async collect() {
          this.set(await read());
        },
      });
    },
    text: () => registry.metrics(),
    contentType: registry.contentType,
  };
}

interface Counted {
  statuses: Map<number, number>;
  seconds: Histogram.Internal<"operation">;
}
