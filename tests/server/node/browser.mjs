// The headless Chromium that the drivers beside this file start, and how they tell what became of what they were asked.
import { createRequire } from "node:module";

const require = createRequire(new URL("../../.cache/npm/", import.meta.url));
const { chromium } = require("playwright-core");

export const tell = (said) => process.stdout.write(JSON.stringify(said) + "\n");

export const launch = (args = []) => chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", ...args,
  ],
});
