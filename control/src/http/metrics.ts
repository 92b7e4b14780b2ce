// SPDX-License-Identifier: Apache-2.0
/** Metrics in the Prometheus text format. Labels have few values: operations and statuses, never ids. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

export interface Metrics {
  answered(operation: string, status: number, elapsedMs: number): void;
  /** A number read when the page is asked for. */
  gauge(name: string, help: string, read: () => number | Promise<number>): void;
  text(): Promise<string>;
  readonly contentType: string;
}

export function openMetrics(): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: "casemate_" });
  const requests = new Counter({
    name: "casemate_http_requests_total",
    help: "Answers by operation and status",
    labelNames: ["operation", "status"],
    registers: [registry],
  });
  const seconds = new Histogram({
    name: "casemate_http_request_seconds",
    help: "Time to answer by operation",
    labelNames: ["operation"],
    buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30],
    registers: [registry],
  });
  // Finding a series by its labels costs more than counting in it.
  const count = remember((status: string, operation: string) => requests.labels(operation, status));
  const time = remember((_: string, operation: string) => seconds.labels(operation));
  return {
    answered(operation, status, elapsedMs) {
      count(String(status), operation).inc();
      time("", operation).observe(elapsedMs / 1000);
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

function remember<T>(make: (status: string, operation: string) => T): typeof make {
  const known = new Map<string, T>();
  return (status, operation) => {
    const name = `${status} ${operation}`;
    const found = known.get(name) ?? make(status, operation);
    known.set(name, found);
    return found;
  };
}
