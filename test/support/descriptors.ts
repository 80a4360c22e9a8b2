import { type DescriptorParty, divideDescriptors } from "../../runtime/descriptor-budget.ts";

/** So many descriptors for one party; more than any test takes if left out. */
export function descriptorsForAll(descriptors = 1_000_000): DescriptorParty {
  return divideDescriptors({ descriptors, shares: { all: { guaranteed: 1 } }, onShort() {} }).all;
}
