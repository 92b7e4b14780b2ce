// SPDX-License-Identifier: Apache-2.0
/**
 * A prepared statement that remembers its columns. The library looks up each column's name and type again
 * with every answer, which costs more than reading a row; of a prepared statement on one connection they
 * are the same each time, and are compared with what arrived all the same.
 *
 * It reaches into members of the library that have no promise of staying (column-query.test.ts).
 */
import pg from "pg";

interface Column {
  name: string;
  dataTypeID: number;
  format: string;
}

/** What the library makes of the columns. */
interface Shape {
  fields: Column[];
  _parsers: unknown;
  _prebuiltEmptyResultObject: unknown;
}

export type Shapes = Map<string, Shape>;

interface Inside {
  _result: Shape;
  _accumulateRows: boolean;
  handleRowDescription(message: { fields: Column[] }): void;
}

type Done = (error: Error | undefined, result: pg.QueryResult) => void;
const Base = pg.Query as unknown as new (
  text: string,
  values: unknown[],
  done: Done,
) => Inside & pg.Submittable;

export class ColumnQuery extends Base {
  readonly name: string;
  readonly #shapes: Shapes;

  /** `shapes` are of one connection. */
  constructor(name: string, text: string, values: unknown[], shapes: Shapes, done: Done) {
    // Given as one object, the library would copy it member by member.
    super(text, values, done);
    this.name = name;
    this.#shapes = shapes;
  }

  override handleRowDescription(message: { fields: Column[] }): void {
    const known = this.#shapes.get(this.name);
    const result = this._result;
    if (known === undefined || !areSame(known.fields, message.fields)) {
      super.handleRowDescription(message);
      const { fields, _parsers, _prebuiltEmptyResultObject } = result;
      this.#shapes.set(this.name, { fields, _parsers, _prebuiltEmptyResultObject });
      return;
    }
    result.fields = known.fields;
    result._parsers = known._parsers;
    result._prebuiltEmptyResultObject = known._prebuiltEmptyResultObject;
    this._accumulateRows = true;
  }
}

function areSame(known: readonly Column[], told: readonly Column[]): boolean {
  if (known.length !== told.length) return false;
  return known.every(({ name, dataTypeID, format }, at) => {
    const other = told[at]!;
    return name === other.name && dataTypeID === other.dataTypeID && format === other.format;
  });
}
