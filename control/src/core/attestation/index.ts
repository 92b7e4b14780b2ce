// SPDX-License-Identifier: Apache-2.0
export { type Collateral, openCollateral } from "./collateral.ts";
export { type ExpectedOf, isChain, openExpectations } from "./expected.ts";
export { type GuestImage, type GuestImages, openGuestImages } from "./guest-images.ts";
export { imagesInUse } from "./images-in-use.ts";
export { judgeLaunch } from "./judge-launch.ts";
export { forgetBrought, keepVerdict } from "./keep.ts";
export { isLogged, openImageTurn } from "./logged-images.ts";
export { revocationStep } from "./references.ts";
export { rejudgeRevoked } from "./rejudge.ts";
export { hostIsTrusted, refusedAt, sealingKeyOf } from "./sealing-key.ts";
export { openTalk, TalkFault, TalkRefused } from "./talk.ts";
