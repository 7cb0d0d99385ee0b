"""The certificate as a page for the public: who says what, in a table and in plain language, as HTML and as SVG."""
