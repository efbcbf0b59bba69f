// HEAD is GET without a body: the document has both, the page shows each call once.
function withoutHead(document) {
  for (const path of Object.values(document.paths)) delete path.head;
  return document;
}

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  tryItOutEnabled: true,
  defaultModelsExpandDepth: 0,
  // Else the document would be sent to a server on the internet that judges it.
  validatorUrl: null,
  plugins: [
    {
      statePlugins: {
        spec: { wrapActions: { updateJsonSpec: (update) => (spec) => update(withoutHead(spec)) } },
      },
    },
  ],
});
