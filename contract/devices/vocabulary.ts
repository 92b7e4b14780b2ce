// SPDX-License-Identifier: Apache-2.0
/** Words of the devices surface; its members are in PascalCase, as those of the API it follows. */
import { Type } from "typebox";
import { Instant, Name, Uuid } from "../identity/vocabulary.ts";

export { Instant, Name, Uuid };

export const nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);
/** What a machine says: bounded, and nothing that a terminal would obey. */
export const Word = Type.String({ maxLength: 200, pattern: "^[^\\p{Cc}]*$" });
const Words = Type.Array(Word, { maxItems: 100 });

export const OfItem = Type.Object({ id: Uuid });
export const Reference = Type.Object({ ID: Uuid, Name: Type.String() });
export const Owner = Type.Object({ UUID: Uuid, Name: Type.String() });
export const Status = Type.Enum(["online", "offline"]);
export const Health = Type.Enum(["unknown", "ok", "degraded", "failed"]);
/** The common reply of this API to what has nothing else to say. */
export const Reply = Type.Object({ Message: Type.String(), UUID: Uuid });

export const System = Type.Object({
  ID: Uuid,
  Name: Type.String(),
  Organisation: Owner,
  Status,
  ServerCount: Type.Integer(),
  DeviceCount: Type.Integer(),
  LastSeen: nullable(Instant),
  CreatedAt: Instant,
  UpdatedAt: Instant,
});

/** A way to run models that a server has. */
export const Runtime = Type.Object(
  { Name: Word, Version: Word, Targets: Type.Array(Word, { maxItems: 100 }) },
  { additionalProperties: false },
);

/** What a server says of itself. */
export const Facts = {
  Version: Type.Optional(Word),
  AIPluginVersion: Type.Optional(Word),
  Runtime: Type.Optional(Runtime),
  AvailableRuntimes: Type.Optional(Type.Array(Runtime, { maxItems: 20 })),
  Preprocessors: Type.Optional(Words),
  Postprocessors: Type.Optional(Words),
  Supports: Type.Optional(Type.Object({ Pipelines: Type.Boolean() }, { additionalProperties: false })),
};

/** How a server's agent is to behave; what is absent is as it was started. */
export const ServerSettings = Type.Object(
  {
    TelemetrySeconds: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 3600, description: "Between two samples; 0: none are told" }),
    ),
  },
  { additionalProperties: false },
);

/** What is wanted of a server and is not in its `Reported`. */
export const Delta = Type.Object({
  Runtime: Type.Optional(Type.String()),
  Settings: Type.Optional(ServerSettings),
  Devices: Type.Optional(
    Type.Array(Type.Object({ UUID: Uuid, PipelinesVersion: Type.Integer() }), {
      description: "Whose pipelines are others than were reported",
    }),
  ),
  Surplus: Type.Optional(Type.Array(Type.String(), { description: "Reported, and not its devices" })),
});

export const Server = Type.Object({
  ID: Uuid,
  Name: Type.String(),
  System: Reference,
  Status,
  Health,
  Version: Type.String(),
  AIPluginVersion: Type.String(),
  Runtime: nullable(Runtime),
  RuntimeWanted: nullable(Type.String()),
  AvailableRuntimes: Type.Array(Runtime),
  Preprocessors: Type.Array(Type.String()),
  Postprocessors: Type.Array(Type.String()),
  Supports: Type.Object({ Pipelines: Type.Boolean() }),
  Settings: ServerSettings,
  DesiredVersion: Type.Integer(),
  ReportedVersion: Type.Integer(),
  Errors: Type.Array(Type.String()),
  LastSeen: nullable(Instant),
  CreatedAt: Instant,
  UpdatedAt: Instant,
});

export const Device = Type.Object({
  UUID: Uuid,
  NxID: Type.String({ description: "In braces" }),
  V2: Type.Object({ id: Type.String() }, { description: "The same where some clients look for it" }),
  Name: Type.String(),
  Serial: Type.String(),
  Type: Type.String(),
  Tags: Type.Array(Type.String()),
  Enabled: Type.Boolean(),
  Active: Type.Boolean({ description: "Its pictures are looked at; off until it is switched on" }),
  Runtime: nullable(Type.String({ description: "Its server's: wanted, or used" })),
  System: Reference,
  Server: Type.Object({
    ID: Uuid,
    Name: Type.String(),
    Status,
    AIPluginVersion: Type.String(),
    Supports: Type.Object({ Pipelines: Type.Boolean() }),
  }),
  Groups: Type.Array(Type.Object({ UUID: Uuid, Name: Type.String() })),
  nxAI: Type.Object({ pipelines: Type.Array(Type.Unknown({ description: "As GET …/pipelines has them" })) }),
  PipelinesVersion: Type.Integer({ description: "Of its own pipelines: grows with each save" }),
  DesiredVersion: Type.Integer({ description: "The number of what its server is to do" }),
  ReportedVersion: Type.Integer({ description: "What its server has taken over of that" }),
  Health: {
    ...Health,
    description: "Its server's; `failed` when its own part of what was tried last did not run",
  },
  CreatedAt: Instant,
  UpdatedAt: Instant,
});

export const Group = Type.Object({
  UUID: Uuid,
  Name: Type.String(),
  DeviceCount: Type.Integer(),
  CreatedAt: Instant,
  UpdatedAt: Instant,
});
