// An AsyncAPI document on standard input; what is wrong with it on standard output.
import { readFileSync } from "node:fs";
import { AvroSchemaParser } from "@asyncapi/avro-schema-parser";
import { Parser } from "@asyncapi/parser";

const WARNING = 1;
const parser = new Parser();
parser.registerSchemaParser(AvroSchemaParser());
const { document, diagnostics } = await parser.parse(readFileSync(0, "utf8"));
const found = diagnostics.filter((one) => one.severity <= WARNING);
for (const one of found) console.log(`${one.code} at ${one.path.join(".")}: ${one.message}`);
if (document) {
  console.log(`${document.allChannels().length} channels, ${document.allMessages().length} messages`);
}
process.exit(document && found.length === 0 ? 0 : 1);
