// The API's description, drawn by Swagger UI from this server's own files.
/* global SwaggerUIBundle */
SwaggerUIBundle({ url: "openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null });
