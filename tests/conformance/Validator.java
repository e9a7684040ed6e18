import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.ResultSeverityEnum;
import ca.uhn.fhir.validation.SingleValidationMessage;
import ca.uhn.fhir.validation.ValidationOptions;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.PrePopulatedValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.UnknownCodeSystemWarningValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.r5.utils.validation.constants.BestPracticeWarningLevel;

/**
 * The reference validator as a filter: one line of JSON in (`resource`, `profile` or null), one line
 * out with its errors. The argument is a folder of profiles.
 */
public class Validator {
  private static final ObjectMapper JSON = new ObjectMapper();

  public static void main(String[] arguments) throws Exception {
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    System.setOut(System.err);
    FhirContext context = FhirContext.forR4Cached();
    FhirValidator validator = context.newValidator();
    validator.registerValidatorModule(module(context, Path.of(arguments[0])));
    BufferedReader in =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      out.println(judged(validator, JSON.readTree(line)));
    }
  }

  private static FhirInstanceValidator module(FhirContext context, Path folder) throws Exception {
    PrePopulatedValidationSupport profiles = new PrePopulatedValidationSupport(context);
    try (DirectoryStream<Path> files = Files.newDirectoryStream(folder, "*.json")) {
      for (Path file : files) {
        profiles.addResource(context.newJsonParser().parseResource(Files.readString(file)));
      }
    }
    // Our own and the guides' code systems are not here: a code of theirs cannot be judged.
    UnknownCodeSystemWarningValidationSupport unknown =
        new UnknownCodeSystemWarningValidationSupport(context);
    unknown.setNonExistentCodeSystemSeverity(IValidationSupport.IssueSeverity.WARNING);
    FhirInstanceValidator module =
        new FhirInstanceValidator(
            new ValidationSupportChain(
                new DefaultProfileValidationSupport(context),
                profiles,
                new CommonCodeSystemsTerminologyService(context),
                new InMemoryTerminologyServerValidationSupport(context),
                unknown));
    module.setBestPracticeWarningLevel(BestPracticeWarningLevel.Ignore);
    module.setAnyExtensionsAllowed(true);
    module.setErrorForUnknownProfiles(false);
    return module;
  }

  private static String judged(FhirValidator validator, JsonNode asked) throws Exception {
    ValidationOptions options = new ValidationOptions();
    if (!asked.path("profile").isMissingNode() && !asked.path("profile").isNull()) {
      options.addProfile(asked.get("profile").asText());
    }
    ObjectNode answer = JSON.createObjectNode();
    ArrayNode errors = answer.putArray("errors");
    try {
      String text = JSON.writeValueAsString(asked.get("resource"));
      for (SingleValidationMessage m : validator.validateWithResult(text, options).getMessages()) {
        if (m.getSeverity().ordinal() >= ResultSeverityEnum.ERROR.ordinal()) {
          ObjectNode error = errors.addObject();
          error.put("at", m.getLocationString());
          error.put("id", m.getMessageId());
          error.put("text", m.getMessage());
        }
      }
    } catch (RuntimeException problem) {
      ObjectNode error = errors.addObject();
      error.put("at", "");
      error.put("id", problem.getClass().getSimpleName());
      error.put("text", String.valueOf(problem.getMessage()));
    }
    return JSON.writeValueAsString(answer);
  }
}
