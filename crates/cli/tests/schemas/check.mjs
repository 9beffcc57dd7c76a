// Checks what tidegate wrote for others against the schemas that they publish.
//
//   node check.mjs sarif < LOG            a SARIF log
//   node check.mjs objects < OBJECTS      a JSON list of Kubernetes objects of Istio, Envoy Gateway, or the Gateway API
//
// What is wrong goes to standard output, one finding a line, and the exit code is 1.

import Ajv04 from "ajv-draft-04";
import addFormats from "ajv-formats";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "typescript";

// Where each group's models are. They have the schemas of the CRDs, and types by which fields that no schema has are found:
// a CRD's own schema lets those pass, and an API server drops them.
const PACKAGES = {
  "v1": "kubernetes-models",
  "discovery.k8s.io": "kubernetes-models",
  "networking.istio.io": "@kubernetes-models/istio",
  "gateway.networking.k8s.io": "@kubernetes-models/gateway-api",
  "gateway.envoyproxy.io": "@kubernetes-models/envoy-gateway",
};

function sarif(log) {
  const path = "./node_modules/@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json";
  const schema = JSON.parse(readFileSync(fileURLToPath(new URL(path, import.meta.url)), "utf8"));
  const ajv = new Ajv04.default({ allErrors: true, strict: false, unicodeRegExp: false });
  addFormats.default(ajv);
  const validate = ajv.compile(schema);
  return validate(log) ? [] : validate.errors.map((it) => `${it.instancePath} ${it.message}`);
}

async function objects(list) {
  const findings = [];
  const sources = [];
  for (const [at, object] of list.entries()) {
    const title = `${object.apiVersion} ${object.kind} ${object.metadata?.namespace}/${object.metadata?.name}`;
    const group = object.apiVersion.split("/")[0];
    const module = PACKAGES[group] && `${PACKAGES[group]}/${object.apiVersion}`;
    const models = module ? await import(module).catch(() => undefined) : undefined;
    const Model = models?.[object.kind];
    if (Model === undefined) {
      findings.push(`${title}: no package has its schema`);
      continue;
    }
    try {
      new Model(object).validate();
    } catch (error) {
      findings.push(`${title}: ${error.message}`);
    }
    const type = `import("${module}").I${object.kind}`;
    sources.push({ title, text: `export const o${at}: ${type} = ${JSON.stringify(object)};` });
  }
  return findings.concat(unknownFields(sources));
}

// One line of TypeScript for each object: a literal must not have fields that its type has not.
function unknownFields(sources) {
  const name = fileURLToPath(new URL("./objects.ts", import.meta.url));
  const text = sources.map((it) => it.text).join("\n");
  const options = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    types: [],
  };
  const host = ts.createCompilerHost(options);
  const { readFile, fileExists, getSourceFile } = host;
  host.fileExists = (path) => path === name || fileExists.call(host, path);
  host.readFile = (path) => (path === name ? text : readFile.call(host, path));
  host.getSourceFile = (path, version, ...rest) =>
    path === name ? ts.createSourceFile(path, text, version) : getSourceFile.call(host, path, version, ...rest);
  const program = ts.createProgram([name], options, host);
  return ts.getPreEmitDiagnostics(program).map((it) => {
    const message = ts.flattenDiagnosticMessageText(it.messageText, " ");
    const line = it.file ? it.file.getLineAndCharacterOfPosition(it.start).line : -1;
    return `${sources[line]?.title ?? "types"}: ${message}`;
  });
}

const input = JSON.parse(readFileSync(0, "utf8"));
const checks = { sarif, objects };
const findings = await checks[process.argv[2]](input);
for (const finding of findings) {
  console.log(finding);
}
process.exitCode = findings.length === 0 ? 0 : 1;
