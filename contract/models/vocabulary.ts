// SPDX-License-Identifier: Apache-2.0
/** Words of the models surface; its members are in PascalCase, as those of the API it follows. */
import { Type } from "typebox";
import { Instant, Name, Uuid } from "../identity/vocabulary.ts";

export { Instant, Name, Uuid };

const text = (maxLength: number) => Type.String({ maxLength });
const nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);

export const STATUSES = ["new", "queued", "processing", "ok", "error"] as const;
export const CONVERSION_STATUSES = ["queued", "processing", "ok", "error", "cancelled"] as const;
export const KINDS = ["detector", "classifier", "alarm", "other"] as const;
export const RESIZE_METHODS = ["Letterbox", "Stretch", "Crop"] as const;
export const CHAIN_MODES = ["Direct", "Conditional", "FeatureExtraction"] as const;
export const VISIBILITIES = ["private", "organization", "public"] as const;
/** Of a multipart body: the file and what describes it. */
export const UPLOAD_MAX = 2 * 1024 ** 3;

export const OfItem = Type.Object({ uuid: Uuid });
export const Target = Type.String({ pattern: "^[a-z0-9+./; =_-]{1,200}$" });

export const InputDetails = Type.Object(
  {
    channels: Type.Optional(Type.Integer({ minimum: 1, maximum: 4 })),
    height: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_536 })),
    width: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_536 })),
    means: Type.Optional(Type.Array(Type.Number(), { maxItems: 4 })),
    vars: Type.Optional(Type.Array(Type.Number(), { maxItems: 4, description: "The scale of each channel" })),
    order: Type.Optional(Type.Integer({ minimum: 0, maximum: 1, description: "0 = NCHW, 1 = NHWC" })),
  },
  { description: "value = (pixel - mean) / scale" },
);
const NamedTensor = Type.Object({
  Name: text(65_536),
  DataType: text(20),
  Shape: Type.Array(Type.Union([Type.Integer(), Type.String()]), { maxItems: 16 }),
});

/** What a client says of a model; all but the name may be left out. */
export const Described = {
  Alias: Type.Optional(text(200)),
  Documentation: Type.Optional(Type.String({ maxLength: 100_000, description: "Markdown" })),
  Customization: Type.Optional(text(100)),
  Kind: Type.Optional(Type.Enum([...KINDS])),
  InputDriver: Type.Optional(Type.Enum(["vision"])),
  InputDriverDetails: Type.Optional(InputDetails),
  OutputDriver: Type.Optional(Type.Enum(["vision"])),
  OutputDriverDetails: Type.Optional(Type.Object({ postProcessing: Type.Optional(text(200)) })),
  NamedInput: Type.Optional(Type.Array(NamedTensor, { maxItems: 256, description: "Read from the file" })),
  NamedOutput: Type.Optional(Type.Array(NamedTensor, { maxItems: 256, description: "Read from the file" })),
  EnableConversions: Type.Optional(Type.Array(Target, { maxItems: 32 })),
  Catalogues: Type.Optional(Type.Array(Uuid, { maxItems: 100 })),
  SourceName: Type.Optional(text(200)),
  SourceUrl: Type.Optional(text(2000)),
  Site: Type.Optional(text(200)),
  Tags: Type.Optional(Type.Array(text(100), { maxItems: 100 })),
  Notes: Type.Optional(text(10_000)),
};
export const CreateData = Type.Object({ Name, ...Described }, { additionalProperties: false });
export const PatchData = Type.Object(
  { Name: Type.Optional(Name), ...Described },
  { additionalProperties: false },
);

/** What deletes are answered. */
export const Reply = Type.Object({ Message: Type.String(), UUID: Uuid });

const Sha256 = Type.String({ pattern: "^[0-9a-f]{64}$" });
export const Download = Type.Object({
  UUID: Uuid,
  MediaType: Type.String(),
  URL: Type.String(),
  SHA256: Sha256,
  Size: Type.Integer(),
  Signature: Type.String({ description: "Ed25519 over what GET /cpt/keys says, base64" }),
  KeyID: Type.String(),
});

export const ModelFunction = Type.Object({
  UUID: Uuid,
  Name: Type.String(),
  Alias: Type.String(),
  Documentation: Type.String(),
  Customization: Type.String(),
  Kind: Type.String(),
  InputDriver: Type.String(),
  InputDriverDetails: InputDetails,
  OutputDriver: Type.String(),
  OutputDriverDetails: Type.Object({ postProcessing: Type.Optional(Type.String()) }),
  NamedInput: Type.Array(NamedTensor),
  NamedOutput: Type.Array(NamedTensor),
  Classes: Type.Array(Type.String()),
  EnableConversions: Type.Array(Type.String()),
  Status: Type.Enum([...STATUSES]),
  Code: Type.Object({ Status: Type.String(), CDNURI: Type.String() }),
  Downloads: Type.Array(Download),
  Catalogues: Type.Array(Type.Object({ UUID: Uuid, Name: Type.String() })),
  Tags: Type.Array(Type.String()),
  Version: Type.Integer(),
  Aliases: Type.Record(Type.String(), Type.Integer()),
  SourceName: Type.String(),
  SourceUrl: Type.String(),
  Organisation: Type.Object({ UUID: Uuid, Name: Type.String() }),
  CreatedAt: Instant,
  UpdatedAt: Instant,
});

const Rule = Type.Object({
  Id: Type.String(),
  Level: Type.Enum(["error", "warning", "info"]),
  Message: Type.String(),
});
export const Validation = Type.Object({
  Conforms: Type.Boolean(),
  Rules: Type.Array(Rule),
  Opset: nullable(Type.Integer()),
  IRVersion: nullable(Type.Integer()),
  Producer: Type.String(),
  Operators: Type.Record(Type.String(), Type.Integer()),
  Parameters: Type.Integer(),
  Inputs: Type.Array(NamedTensor),
  Outputs: Type.Array(NamedTensor),
  Classes: Type.Array(Type.String()),
  Repair: nullable(
    Type.Object({
      Renames: Type.Record(Type.String(), Type.String()),
      Freeze: Type.Record(Type.String(), nullable(Type.Integer())),
    }),
  ),
});

export const Version = Type.Object({
  Number: Type.Integer(),
  SHA256: Sha256,
  Size: Type.Integer(),
  CreatedAt: Instant,
  CreatedBy: Type.String(),
  Validation: nullable(Validation),
  Notes: Type.String(),
});

export const Deviation = Type.Object({
  MaxAbsolute: nullable(Type.Number()),
  MaxRelative: nullable(Type.Number()),
  Mismatches: Type.Integer(),
  Samples: Type.Integer(),
});

export const Artifact = Type.Object({
  ...Download.properties,
  Target: Type.String(),
  Version: Type.Integer(),
  Status: Type.Literal("ok"),
  Deviation: nullable(Deviation),
  CreatedAt: Instant,
});

export const ConversionOptions = Type.Object(
  {
    level: Type.Optional(Type.Enum(["basic", "extended"])),
    scheme: Type.Optional(Type.Enum(["weight-only"])),
    freeze: Type.Optional(
      Type.Record(Type.String({ maxLength: 65_600 }), Type.Integer(), { maxProperties: 64 }),
    ),
    renames: Type.Optional(
      Type.Record(Type.String({ maxLength: 65_536 }), Type.String({ maxLength: 65_536 }), {
        maxProperties: 64,
      }),
    ),
  },
  { additionalProperties: false },
);

export const Conversion = Type.Object({
  UUID: Uuid,
  Function: Uuid,
  Version: Type.Integer(),
  Target: Type.String(),
  Options: ConversionOptions,
  Status: Type.Enum([...CONVERSION_STATUSES]),
  Progress: Type.Number(),
  Log: Type.String(),
  Rules: Type.Array(Rule),
  StartedAt: nullable(Instant),
  FinishedAt: nullable(Instant),
  Artifact: nullable(Artifact),
});

export const Catalogue = Type.Object({
  UUID: Uuid,
  Name: Type.String(),
  Visibility: Type.Enum([...VISIBILITIES]),
  Organisation: Type.Object({ UUID: Uuid, Name: Type.String() }),
  Organisations: Type.Array(Uuid),
  FunctionCount: Type.Integer(),
  CreatedAt: Instant,
  UpdatedAt: Instant,
});
