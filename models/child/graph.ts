// SPDX-License-Identifier: Apache-2.0
/**
 * Walks a graph with all that is nested in it, bounded, and says what is wrong with it as a graph:
 * cycles, names that nobody makes, names that two make, operators, what lies in other files.
 */
import type { AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto } from "onnx-buf";
import type { Limits, Rule } from "../job.ts";
import { refuse, rule } from "./refusal.ts";

const DEPTH_MAX = 16;
const EXTERNAL = 1;
const STANDARD = new Set(["", "ai.onnx"]);
const LISTED_MAX = 5;

export interface Walked {
  operators: Record<string, number>;
  parameters: number;
  rules: Rule[];
}

export function walk(model: ModelProto, limits: Limits): Walked {
  const found = new Findings(limits, new Set(model.functions.map(({ domain, name }) => `${domain}.${name}`)));
  found.graph(model.graph!, new Set(), 0);
  for (const each of model.functions) found.nodes(each.node, 0);
  return { operators: found.operators, parameters: found.parameters, rules: found.rules() };
}

/** Graphs that a node carries within itself. */
export const graphsIn = (node: NodeProto): GraphProto[] =>
  node.attribute.flatMap((each: AttributeProto) => [
    ...(each.g === undefined ? [] : [each.g]),
    ...each.graphs,
  ]);

const tensorsIn = (node: NodeProto): TensorProto[] =>
  node.attribute.flatMap((each: AttributeProto) => [
    ...(each.t === undefined ? [] : [each.t]),
    ...each.tensors,
    ...[...(each.sparseTensor === undefined ? [] : [each.sparseTensor]), ...each.sparseTensors].flatMap(
      ({ values, indices }) => [values, indices].filter((one) => one !== undefined),
    ),
  ]);

class Findings {
  readonly operators: Record<string, number> = Object.create(null);
  parameters = 0;
  readonly #limits: Limits;
  readonly #functions: Set<string>;
  readonly #by = new Map<string, { level: Rule["Level"]; what: string; names: Set<string> }>();
  #nodes = 0;

  constructor(limits: Limits, functions: Set<string>) {
    this.#limits = limits;
    this.#functions = functions;
  }

  graph(graph: GraphProto, outer: ReadonlySet<string>, depth: number): void {
    const initializers = graph.initializer.map(({ name }) => name);
    const sparse = graph.sparseInitializer.map(({ values }) => values?.name ?? "");
    for (const tensor of graph.initializer) this.#tensor(tensor);
    for (const { values } of graph.sparseInitializer) if (values !== undefined) this.#tensor(values);
    const given = new Set([...outer, ...graph.input.map(({ name }) => name), ...initializers, ...sparse]);
    this.#order(graph, given);
    const visible = new Set([...given, ...graph.node.flatMap(({ output }) => output)]);
    for (const { name } of graph.output)
      if (!visible.has(name)) this.#say("error", "onnx.dangling", "outputs that nothing makes", name);
    this.nodes(graph.node, depth, visible);
  }

  nodes(nodes: NodeProto[], depth: number, visible: ReadonlySet<string> = new Set()): void {
    if (depth > DEPTH_MAX) refuse("onnx.nesting", `Graphs are nested deeper than ${DEPTH_MAX}.`);
    this.#nodes += nodes.length;
    if (this.#nodes > this.#limits.nodesMax)
      refuse("onnx.nodes", `The graph has more than ${this.#limits.nodesMax} nodes.`);
    for (const node of nodes) {
      const { domain, opType } = node;
      const name = (STANDARD.has(domain) ? opType : `${domain}.${opType}`).slice(0, 200);
      this.operators[name] = (this.operators[name] ?? 0) + 1;
      if (!STANDARD.has(domain) && !this.#functions.has(`${domain}.${opType}`))
        this.#say("error", "onnx.custom-operator", "operators that are not of the ONNX standard", name);
      for (const tensor of tensorsIn(node)) this.#tensor(tensor);
      for (const inner of graphsIn(node)) this.graph(inner, visible, depth + 1);
    }
  }

  /** Kahn's way round a graph: what is left when nothing can be next waits for itself. */
  #order(graph: GraphProto, given: ReadonlySet<string>): void {
    const maker = new Map<string, number>();
    for (const [index, node] of graph.node.entries())
      for (const name of node.output) {
        if (name === "") continue;
        if (maker.has(name) || given.has(name))
          this.#say("error", "onnx.duplicate-name", "values that are made twice", name);
        maker.set(name, index);
      }
    const waits = new Array<number>(graph.node.length).fill(0);
    const users = graph.node.map((): number[] => []);
    let sorted = true;
    for (const [index, node] of graph.node.entries())
      for (const name of new Set([...node.input, ...graphsIn(node).flatMap(capturedBy)])) {
        const from = maker.get(name);
        if (from !== undefined) {
          users[from]!.push(index);
          waits[index]!++;
          if (from >= index) sorted = false;
        } else if (name !== "" && !given.has(name) && node.input.includes(name))
          this.#say("error", "onnx.dangling", "inputs of nodes that nothing makes", name);
      }
    if (sorted) return;
    const next = [...waits.keys()].filter((index) => waits[index] === 0);
    let done = 0;
    for (let index = next.pop(); index !== undefined; index = next.pop()) {
      done++;
      for (const user of users[index]!) if (--waits[user]! === 0) next.push(user);
    }
    if (done === graph.node.length)
      this.#say("warning", "onnx.unsorted", "nodes before what they need", graph.name);
    else {
      const stuck = graph.node.find((_node, index) => waits[index]! > 0)!;
      this.#say("error", "onnx.cyclic", "values that wait for themselves", stuck.output[0] ?? "");
    }
  }

  #tensor(tensor: TensorProto): void {
    if (tensor.dataLocation === EXTERNAL || tensor.externalData.length > 0)
      this.#say("error", "onnx.external-data", "weights that lie in another file", tensor.name);
    const elements = tensor.dims.reduce((all, dim) => all * Number(dim), 1);
    const negative = tensor.dims.some((dim) => dim < 0n);
    if (negative || !Number.isSafeInteger(elements) || elements > this.#limits.elementsMax)
      this.#say(
        "error",
        "onnx.huge-tensor",
        `tensors of more than ${this.#limits.elementsMax} values`,
        tensor.name,
      );
    else this.parameters += elements;
  }

  #say(level: Rule["Level"], id: string, what: string, name: string): void {
    const said = this.#by.get(id) ?? { level, what, names: new Set() };
    said.names.add(name);
    this.#by.set(id, said);
  }

  rules(): Rule[] {
    return [...this.#by].map(([id, { level, what, names }]) => {
      const listed = [...names].slice(0, LISTED_MAX).map((name) => name.slice(0, 80));
      const more = names.size > LISTED_MAX ? ` and ${names.size - LISTED_MAX} more` : "";
      return rule(level, id, `The model has ${what}: ${listed.join(", ")}${more}.`);
    });
  }
}

/** Names that a nested graph takes from outside, as far as they are not its own. */
function capturedBy(graph: GraphProto): string[] {
  const own = new Set([
    ...graph.input.map(({ name }) => name),
    ...graph.initializer.map(({ name }) => name),
    ...graph.node.flatMap(({ output }) => output),
  ]);
  return graph.node.flatMap(({ input }) => input).filter((name) => !own.has(name));
}
