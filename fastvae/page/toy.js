function startToy(root, toy) { return {}; }
