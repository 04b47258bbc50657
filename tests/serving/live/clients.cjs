// OpenAI's Node client as one writes it: models, a picture, a stream, several answers, an error. URL MODEL PICTURE.
const OpenAI = require("openai").default;

async function main() {
  const [url, model, picture] = process.argv.slice(2);
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "-", maxRetries: 0, timeout: 90000 });
  const listed = [];
  for await (const found of client.models.list()) listed.push(found.id);
  const content = [
    { type: "image_url", image_url: { url: picture, detail: "low" } },
    { type: "text", text: "draw it" },
  ];
  const request = { model, max_completion_tokens: 12, temperature: 0, messages: [{ role: "user", content }] };
  const whole = await client.chat.completions.create(request);
  let text = "";
  let usage = null;
  const stream = await client.chat.completions.create({
    ...request, stream: true, stream_options: { include_usage: true },
  });
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  const messages = [
    { role: "developer", content: "be short" },
    ...request.messages,
    whole.choices[0].message,
    { role: "user", content: "again" },
  ];
  const second = await client.chat.completions.create({ ...request, messages, n: 2, temperature: 1 });
  let refused = null;
  try {
    await client.chat.completions.create({ ...request, tools: [{ type: "function", function: { name: "f" } }] });
  } catch (error) {
    refused = [error.constructor.name, error.status, error.message];
  }
  const wholeText = whole.choices[0].message.content;
  console.log(JSON.stringify({ listed, whole: wholeText, text, usage, answers: second.choices.length, refused }));
}

main().catch((error) => { console.error(error); process.exit(1); });
